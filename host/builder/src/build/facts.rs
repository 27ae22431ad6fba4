//! Facts about a cargo package. They are cached as long as they are valid. Otherwise, each edit would wait for
//! `cargo metadata`, although the build itself usually runs rustc without cargo (`replay.rs`).

use super::{
    BuildError,
    content::{InputStamp, stamp},
    process::{self, LockFile},
    settings::Settings,
    toolchain::Toolchain,
    turns::Turns,
};
use crate::{
    mount,
    watch::{self, Inputs},
};
use cargo_metadata::{CrateType, DependencyKind, Metadata, MetadataCommand, Package, TargetKind};
use replug_config::{manifest::Manifest, workspace};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};
use toml::{Table, Value};

/// Facts that are valid until one of the files from which they were found changes.
#[derive(Debug)]
pub(super) struct PackageFacts {
    pub(super) toolchain: Toolchain,
    pub(super) package: String,
    /// The package's Cargo.toml.
    pub(super) file: PathBuf,
    pub(super) workspace_root: PathBuf,
    /// The target folder of the builds.
    pub(super) target_dir: PathBuf,
    /// The inputs of the package, as far as they are known without a build.
    pub(super) inputs: Inputs,
    /// The folders of the package and of its path dependencies, as far as they are known without a build.
    pub(super) package_folders: BTreeSet<PathBuf>,
    /// The profiles that the workspace or the settings define or change.
    profiles: BTreeSet<String>,
    stamps: Vec<(PathBuf, Option<InputStamp>)>,
    pub(super) settings: Settings,
}

impl PackageFacts {
    /// Finds the facts about the package that `manifest` names, to be built below `target_dir`.
    pub(super) async fn find(
        manifest: &Manifest,
        target_dir: &Path,
        turns: &Turns,
    ) -> Result<Self, BuildError> {
        if mount::is_noexec(target_dir) {
            // Cargo's own error would not name the cause: it reports that permission to run a build script is denied, or
            // that a proc macro cannot be loaded.
            return Err(BuildError::Io {
                path: target_dir.to_owned(),
                source: io::Error::other(
                    "it is on a file system that is mounted `noexec`, so cargo cannot run build scripts there",
                ),
                remedy: "set another target folder with CARGO_TARGET_DIR, or another `state_dir`",
            });
        }
        let began = SystemTime::now();
        let settings = Settings::find(&manifest.root);
        let mut stamps: Vec<_> = settings.files.iter().map(|path| (path.clone(), stamp(path))).collect();
        let toolchain = Toolchain::find(&manifest.root, &settings).await?;
        stamps.extend(toolchain.places.iter().map(|path| (path.clone(), stamp_before(path, began))));
        let metadata = metadata(&toolchain, &manifest.root).await?;
        let package = plugin_package(manifest, &metadata)?;
        let workspace_root = metadata.workspace_root.clone().into_std_path_buf();
        let lock_file = workspace_root.join("Cargo.lock");
        if !lock_file.exists() {
            let turn = turns.to_lock(&workspace_root).await;
            // Cargo.lock is written before the build, because a file that is new after the build would count as an
            // edit. An error is ignored here, because the build will fail with a better message.
            let mut command = toolchain.cargo(&manifest.root);
            command.args(["generate-lockfile", "--quiet"]);
            if !lock_file.exists() {
                let _ = process::run(command, LockFile::Written(vec![turn.lock()]), |_| {}).await;
            }
        }
        let mut inputs = inputs(package, &metadata);
        let manifests = inputs.files.iter().filter(|file| file.ends_with("Cargo.toml"));
        let package_folders = manifests.filter_map(|file| file.parent()).map(Path::to_owned).collect();
        // The manifests of all packages of the workspace are inputs, because cargo selects the versions of dependencies
        // for all these packages together.
        inputs.files.extend(metadata.packages.iter().map(|package| package.manifest_path.clone().into()));
        // A file that was saved while cargo read it may differ from what cargo read. Such a file is given the stamp of
        // a missing file, so the next build sees a difference and reads the facts again.
        stamps.extend(inputs.files.iter().map(|path| (path.clone(), stamp_before(path, began))));
        // The settings of cargo and rustup in folders outside of the workspace are inputs only if they exist. To notice
        // the creation of a missing file, the watcher would have to watch its folder, such as `/` or `/home`, and would
        // get events of unrelated files there. The next build notices the new file by its stamp.
        let watched =
            settings.files.iter().filter(|file| file.starts_with(&workspace_root) || file.is_file());
        inputs.files.extend(watched.cloned());
        inputs.files.insert(lock_file);
        let mut profiles = settings.profiles.clone();
        let own = table(&workspace_root.join("Cargo.toml"));
        let own = own.get("profile").and_then(Value::as_table).into_iter().flat_map(Table::keys);
        profiles.extend(own.cloned());
        Ok(Self {
            target_dir: workspace::target_dir_below(target_dir, &workspace_root),
            package: package.name.to_string(),
            file: package.manifest_path.clone().into_std_path_buf(),
            toolchain,
            profiles,
            workspace_root,
            inputs,
            package_folders,
            stamps,
            settings,
        })
    }

    /// Whether this profile exists. A build must not set a value in an undefined profile, because the error that cargo
    /// then reports is misleading.
    pub(super) fn has_profile(&self, name: &str) -> bool {
        matches!(name, "dev" | "release") || self.sets_profile(name)
    }

    /// Whether the workspace or the settings configure this profile.
    pub(super) fn sets_profile(&self, name: &str) -> bool {
        self.profiles.contains(name)
    }

    /// The names of the crates in Cargo.lock that cargo downloads and that no local crate replaces.
    pub(super) fn downloaded(&self) -> BTreeSet<String> {
        let lock = table(&self.workspace_root.join("Cargo.lock"));
        let packages = lock.get("package").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let names = |of: fn(&Value) -> bool| -> BTreeSet<String> {
            let packages = packages.iter().filter(|package| of(package) && !self.settings.replaces_crates);
            packages.filter_map(|package| Some(package.get("name")?.as_str()?.to_owned())).collect()
        };
        let (with, without) =
            (names(|it| it.get("source").is_some()), names(|it| it.get("source").is_none()));
        &with - &without
    }

    /// The existing files that select the toolchain and configure cargo for this package.
    pub(super) fn configuration(&self) -> BTreeSet<PathBuf> {
        let settings = self.settings.files.iter().filter(|file| file.is_file());
        settings.chain(&self.toolchain.places).cloned().collect()
    }

    /// Whether a crate in Cargo.lock that cargo downloads may depend on a local crate, which replaces a downloaded one.
    pub(super) fn downloads_need_local_crates(&self) -> bool {
        let lock = table(&self.workspace_root.join("Cargo.lock"));
        let packages = lock.get("package").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let local = packages.iter().filter(|package| package.get("source").is_none());
        let local: BTreeSet<_> = local.filter_map(|package| package.get("name")?.as_str()).collect();
        let downloaded = packages.iter().filter(|package| package.get("source").is_some());
        let needed = downloaded.filter_map(|package| package.get("dependencies")?.as_array()).flatten();
        // A dependency is a name, which a version and a source may follow.
        let mut names = needed.filter_map(|it| it.as_str()?.split(' ').next());
        self.settings.replaces_crates || names.any(|name| local.contains(name))
    }

    /// Whether the facts are still valid: none of the files from which they were found has changed.
    pub(super) fn hold(&self) -> bool {
        self.stamps.iter().all(|(path, found)| stamp(path) == *found)
    }
}

/// The stamp of a file that has not changed since `time`, or `None` if it may have changed.
pub(super) fn stamp_before(path: &Path, time: SystemTime) -> Option<InputStamp> {
    stamp(path).filter(|stamp| stamp.is_before(time))
}

/// The content of a TOML file. Empty if the file cannot be read or parsed.
fn table(file: &Path) -> Table {
    fs::read_to_string(file).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

async fn metadata(toolchain: &Toolchain, root: &Path) -> Result<Metadata, BuildError> {
    let file = root.join("Cargo.toml");
    let mut command = toolchain.cargo(root);
    command
        .args(["metadata", "--no-deps", "--format-version", "1", "--color", "never", "--manifest-path"])
        .arg(&file);
    let mut json = String::new();
    let finished = process::run(command, LockFile::Written(Vec::new()), |line| json.push_str(line))
        .await
        .map_err(|source| BuildError::NoToolchain { program: "cargo".into(), source })?;
    let failed = |reason: String| {
        let status = finished.status.to_string();
        BuildError::Cargo { file: file.clone(), status, stderr: reason }
    };
    if !finished.status.success() {
        return Err(failed(finished.stderr.clone()));
    }
    MetadataCommand::parse(&json).map_err(|error| failed(format!("cannot read its metadata: {error}")))
}

fn is_cdylib(package: &Package) -> bool {
    package
        .targets
        .iter()
        .any(|it| it.crate_types.contains(&CrateType::CDyLib) && !it.kind.contains(&TargetKind::Example))
}

/// The package of the plugin.
fn plugin_package<'m>(manifest: &Manifest, metadata: &'m Metadata) -> Result<&'m Package, BuildError> {
    let file = manifest.root.join("Cargo.toml");
    let cdylibs: Vec<_> = metadata.packages.iter().filter(|package| is_cdylib(package)).collect();
    let names: Vec<_> = cdylibs.iter().map(|package| format!("`{}`", package.name)).collect();
    let here = || metadata.packages.iter().find(|package| package.manifest_path.as_std_path() == file);
    let package = match &manifest.build.package {
        Some(name) => metadata.packages.iter().find(|package| *package.name == *name).ok_or_else(|| {
            BuildError::NoSuchPackage { file: file.clone(), package: name.clone(), packages: names.clone() }
        })?,
        None => match (here(), cdylibs.as_slice()) {
            (Some(package), _) => package,
            (None, [package]) => package,
            (None, []) => return Err(BuildError::NoCdylib { file }),
            (None, _) => return Err(BuildError::SeveralCdylibs { file, packages: names }),
        },
    };
    if is_cdylib(package) {
        return Ok(package);
    }
    let hint = if names.is_empty() {
        String::new()
    } else {
        format!("; or, if the plugin is another package ({}), name it with `build.package`", names.join(", "))
    };
    Err(BuildError::NotACdylib {
        file: package.manifest_path.clone().into(),
        package: package.name.to_string(),
        hint,
    })
}

/// The source folders and manifests of `package` and of its path dependencies.
fn inputs(package: &Package, metadata: &Metadata) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.files.insert(metadata.workspace_root.join("Cargo.toml").into());
    let mut seen = BTreeSet::new();
    let mut open: Vec<PathBuf> = package.manifest_path.parent().map(Into::into).into_iter().collect();
    while let Some(folder) = open.pop() {
        if !seen.insert(folder.clone()) {
            continue;
        }
        let file = folder.join("Cargo.toml");
        // A missing build script is also an input, because cargo runs the script as soon as it exists.
        inputs.files.insert(folder.join("build.rs"));
        let Some(package) =
            metadata.packages.iter().find(|package| package.manifest_path.as_std_path() == file)
        else {
            // The package is outside of the workspace. Its other inputs are known after the first build.
            inputs.dirs.insert(folder.join("src"));
            inputs.files.insert(file);
            continue;
        };
        inputs.files.insert(file);
        for target in &package.targets {
            let source = target.src_path.as_std_path();
            match target.kind.first() {
                Some(TargetKind::CustomBuild) => drop(inputs.files.insert(source.into())),
                Some(TargetKind::Bin | TargetKind::Test | TargetKind::Bench | TargetKind::Example) => {}
                _ => inputs.dirs.extend(source.parent().map(Path::to_owned)),
            }
        }
        let needed = package.dependencies.iter().filter(|it| it.kind != DependencyKind::Development);
        for path in needed.filter_map(|it| it.path.as_ref()).map(|path| path.as_std_path()) {
            // If one of these links later leads elsewhere, the dependency is another package.
            inputs.files.extend(watch::links_on(path));
            open.push(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        }
    }
    inputs
}
