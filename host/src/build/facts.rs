//! What is found out about a cargo package once, and kept for as long as it holds: asking cargo anew would
//! cost every edit more than the rest of this stage together.

use super::{BuildError, process, turns::Turns};
use crate::{
    manifest::Manifest,
    watch::{self, Inputs},
};
use cargo_metadata::{CrateType, DependencyKind, Metadata, MetadataCommand, Package, TargetKind};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

/// What holds until one of the package's manifests changes.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) toolchain: Toolchain,
    pub(super) package: String,
    /// The package's Cargo.toml.
    pub(super) file: PathBuf,
    pub(super) workspace_root: PathBuf,
    /// Where cargo builds it.
    pub(super) target_dir: PathBuf,
    /// What it is made from, as far as can be told without building it.
    pub(super) inputs: Inputs,
    /// The Cargo.toml that may define profiles.
    profiles: String,
    stamps: Vec<(PathBuf, Stamp)>,
    /// The files that steer cargo and rustup, whether they are there or not.
    pub(super) settings: Vec<PathBuf>,
}

pub(super) type Stamp = Option<(i64, i64, u64, u64)>;

/// Where the tools are that the folder's toolchain settings select.
#[derive(Clone, Debug)]
pub(super) struct Toolchain {
    pub(super) cargo: PathBuf,
    pub(super) libdir: PathBuf,
    path: OsString,
}

impl Toolchain {
    async fn find(root: &Path) -> Result<Self, BuildError> {
        let mut command = Command::new("rustc");
        command.current_dir(root).args(["--print", "sysroot", "--print", "target-libdir"]);
        let mut lines = Vec::new();
        let finished = process::run(command, |line| lines.push(PathBuf::from(line)))
            .await
            .map_err(|source| BuildError::NoToolchain { program: "rustc", source })?;
        let [sysroot, libdir] = lines.as_slice() else {
            let source = io::Error::other(format!("{}: {}", finished.status, finished.stderr));
            return Err(BuildError::NoToolchain { program: "rustc", source });
        };
        // Called by its own path, cargo need not find out again (for itself and for each rustc) which toolchain
        // is meant: that is rustup's business, and takes it 10 ms every time.
        let bin = sysroot.join("bin");
        let own = Some(bin.join("cargo")).filter(|cargo| cargo.is_file());
        let mut path = OsString::new();
        if own.is_some() {
            path.push(&bin);
            path.push(":");
        }
        path.push(env::var_os("PATH").unwrap_or_default());
        Ok(Self { cargo: own.unwrap_or_else(|| "cargo".into()), libdir: libdir.clone(), path })
    }

    /// A cargo command in `folder`, whose settings then apply.
    pub(super) fn cargo(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.cargo);
        command.current_dir(folder).env("PATH", &self.path);
        command
    }
}

impl Facts {
    /// Finds out what is to know about the package that `manifest` means, to be built below `target_dir`.
    pub(super) async fn find(
        manifest: &Manifest,
        target_dir: &Path,
        turns: &Turns,
    ) -> Result<Self, BuildError> {
        let began = SystemTime::now();
        let settings = settings(manifest);
        let mut stamps: Vec<_> = settings.iter().map(|path| (path.clone(), stamp(path))).collect();
        let toolchain = Toolchain::find(&manifest.root).await?;
        let metadata = metadata(&toolchain, &manifest.root).await?;
        let package = plugin_package(manifest, &metadata)?;
        let workspace_root = metadata.workspace_root.clone().into_std_path_buf();
        let lock_file = workspace_root.join("Cargo.lock");
        if !lock_file.exists() {
            let _turn = turns.to_lock(&workspace_root).await;
            // Else cargo would write it during the build, which would look like an edit. If this fails, the build
            // says so better.
            let mut command = toolchain.cargo(&manifest.root);
            command.args(["generate-lockfile", "--quiet"]);
            if !lock_file.exists() {
                let _ = process::run(command, |_| {}).await;
            }
        }
        let mut inputs = inputs(package, &metadata);
        // What was saved while cargo read it may not be what it read. Stamped as missing, it makes the facts be found
        // out anew the next time.
        stamps.extend(inputs.files.iter().map(|path| (path.clone(), stamp_before(path, began).flatten())));
        inputs.files.extend(settings.iter().filter(|file| file.starts_with(&workspace_root)).cloned());
        inputs.files.insert(lock_file);
        // Packages of the same name in two workspaces must not share a folder: cargo would take the one for the other.
        let mut hasher = DefaultHasher::new();
        workspace_root.hash(&mut hasher);
        let name = workspace_root.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            target_dir: target_dir.join(format!("{name}-{:016x}", hasher.finish())),
            package: package.name.to_string(),
            file: package.manifest_path.clone().into_std_path_buf(),
            toolchain,
            profiles: fs::read_to_string(workspace_root.join("Cargo.toml")).unwrap_or_default(),
            workspace_root,
            inputs,
            stamps,
            settings,
        })
    }

    /// The folders of the packages by path that the artifact is made from, as far as they are known without a build.
    pub(super) fn package_folders(&self) -> BTreeSet<PathBuf> {
        let manifests = self.inputs.files.iter().filter(|file| file.ends_with("Cargo.toml"));
        manifests.filter_map(|file| file.parent()).map(Path::to_owned).collect()
    }

    /// Whether cargo knows this profile; to set a value in one that it does not know would make it misname the error.
    pub(super) fn has_profile(&self, name: &str) -> bool {
        matches!(name, "dev" | "release") || self.sets_profile(name)
    }

    /// Whether the workspace says anything of this profile.
    pub(super) fn sets_profile(&self, name: &str) -> bool {
        self.profiles.contains(&format!("[profile.{name}"))
    }

    /// Whether one of the files that steer cargo has this word in it.
    pub(super) fn settings_mention(&self, word: &str) -> bool {
        self.settings.iter().any(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(word)))
    }

    /// Whether everything is still as it was found.
    pub(super) fn hold(&self) -> bool {
        self.stamps.iter().all(|(path, found)| stamp(path) == *found)
    }
}

pub(super) fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino()))
}

/// How far the times of files may lag behind the clock: the kernel takes them from its last tick.
const TICK: Duration = Duration::from_millis(20);

/// The stamp of a file that was as it is already at that time; none if it may have been written since.
pub(super) fn stamp_before(path: &Path, time: SystemTime) -> Option<Stamp> {
    let found = stamp(path);
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    (written < time.checked_sub(TICK)?).then_some(found)
}

async fn metadata(toolchain: &Toolchain, root: &Path) -> Result<Metadata, BuildError> {
    let file = root.join("Cargo.toml");
    let mut command = toolchain.cargo(root);
    command
        .args(["metadata", "--no-deps", "--format-version", "1", "--color", "never", "--manifest-path"])
        .arg(&file);
    let mut json = String::new();
    let finished = process::run(command, |line| json.push_str(line))
        .await
        .map_err(|source| BuildError::NoToolchain { program: "cargo", source })?;
    let failed = |reason: String| {
        let status = finished.status.to_string();
        BuildError::Cargo { file: file.clone(), status, stderr: reason }
    };
    if !finished.status.success() {
        return Err(failed(finished.stderr.clone()));
    }
    MetadataCommand::parse(&json).map_err(|error| failed(format!("its metadata cannot be read: {error}")))
}

fn is_cdylib(package: &Package) -> bool {
    package
        .targets
        .iter()
        .any(|it| it.crate_types.contains(&CrateType::CDyLib) && !it.kind.contains(&TargetKind::Example))
}

/// The package that is the plugin.
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

/// The source folders and manifests of `package` and of the packages by path that it needs.
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
        // There or not: once it comes, cargo runs it.
        inputs.files.insert(folder.join("build.rs"));
        let Some(package) =
            metadata.packages.iter().find(|package| package.manifest_path.as_std_path() == file)
        else {
            // Outside of the workspace; what else it reads is known from its first build on.
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
            // If one of them leads elsewhere, it is another package.
            inputs.files.extend(watch::links_on(path));
            open.push(fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()));
        }
    }
    inputs
}

/// The files that steer cargo and rustup, whether they are there or not: both look in the folders above, too.
fn settings(manifest: &Manifest) -> Vec<PathBuf> {
    const NAMES: [&str; 4] = [".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain"];
    let folders = manifest.root.ancestors();
    let mut files: Vec<_> = folders.flat_map(|folder| NAMES.map(|name| folder.join(name))).collect();
    let cargo_home = env::var_os("CARGO_HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    files.extend(cargo_home.iter().flat_map(|home| ["config.toml", "config"].map(|name| home.join(name))));
    files
}
