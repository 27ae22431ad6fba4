//! A separate workspace for programs that edit plugins. They change the copies in it, and the originals stay unchanged.

use crate::{compiled, source::PROFILE, target_dir, workspace};
use anyhow::{Context, Result, ensure};
use replug::{BuildDir, manifest};
use replug_builder::build::Builder;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use toml::{Table, Value};

/// A workspace below the target folder. Its builds are kept from one run to the next.
#[derive(Debug)]
pub struct Sandbox {
    root: PathBuf,
}

/// How an artifact links the standard library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Std {
    /// Shared, as the host builds plugins.
    Shared,
    /// Its own copy, as cargo builds a cdylib by default.
    Own,
}

impl Sandbox {
    /// Creates the sandbox with this name, or empties it except for builds.
    ///
    /// # Errors
    ///
    /// If the folder cannot be written, or the project's own manifest cannot be read.
    pub fn fresh(name: &str) -> Result<Self> {
        let root = target_dir().join("sandbox").join(name);
        let plugins = root.join("plugins");
        if plugins.exists() {
            fs::remove_dir_all(&plugins).with_context(|| format!("cannot empty {}", plugins.display()))?;
        }
        fs::create_dir_all(&plugins).with_context(|| format!("cannot create {}", plugins.display()))?;
        fs::write(root.join("Cargo.toml"), workspace_manifest()?)?;
        // The lock file selects the versions that the project itself uses, so cargo downloads nothing.
        fs::copy(workspace().join("Cargo.lock"), root.join("Cargo.lock"))?;
        Ok(Self { root })
    }

    /// Removes the build profiles from the sandbox's workspace manifest, so that the host selects how to build for
    /// development, as it does for an author who has set no profile.
    ///
    /// # Errors
    ///
    /// If the manifest cannot be read or written.
    pub fn remove_profiles(&self) -> Result<()> {
        let file = self.root.join("Cargo.toml");
        let mut manifest: Table = fs::read_to_string(&file)?.parse()?;
        manifest.remove("profile");
        fs::write(&file, manifest.to_string())?;
        Ok(())
    }

    /// Selects the profile of the plugin template ([`Source`](crate::Source)), and puts its compiled dependencies into
    /// the build folder.
    ///
    /// # Errors
    ///
    /// If the manifest cannot be read or written.
    pub fn use_compiled_dependencies(&self) -> Result<()> {
        let file = self.root.join("Cargo.toml");
        let mut manifest: Table = fs::read_to_string(&file)?.parse()?;
        manifest.extend(PROFILE.parse::<Table>()?);
        fs::write(&file, manifest.to_string())?;
        compiled::put(&self.build_dir().target_dir(&self.root));
        Ok(())
    }

    /// Copies a package of the project, such as `plugins/calculator`, and returns the copy's folder.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or the copy cannot be written.
    pub fn add(&self, package: &str) -> Result<PathBuf> {
        let original = workspace().join(package);
        let name = original.file_name().with_context(|| format!("{package} has no name"))?;
        let copy = self.plugins_dir().join(name);
        copy_folder(&original, &copy)?;
        let file = copy.join("Cargo.toml");
        let mut manifest: Table = fs::read_to_string(&file)?.parse()?;
        manifest.remove("workspace");
        make_absolute(&mut manifest, &original);
        fs::write(&file, manifest.to_string())?;
        Ok(copy)
    }

    /// Copies the package like [`Sandbox::add`], and sets its profile to `release`. Its manifest must not have a table
    /// `build`.
    ///
    /// # Errors
    ///
    /// * Those of [`Sandbox::add`]
    /// * The package has no manifest of a plugin
    pub fn add_released(&self, package: &str) -> Result<PathBuf> {
        let copy = self.add(package)?;
        let manifest = copy.join("plugin.toml");
        let text = fs::read_to_string(&manifest)?;
        fs::write(&manifest, format!("{text}\n[build]\nprofile = \"release\"\n"))?;
        Ok(copy)
    }

    /// Builds a package that was [added](Self::add), with the profile in its plugin's manifest, and returns the
    /// library. Do not call this on a thread of an async runtime.
    ///
    /// # Errors
    ///
    /// If it does not compile.
    pub fn build(&self, package: &Path, std: Std) -> Result<PathBuf> {
        let manifest = manifest::read(package)?;
        match std {
            Std::Shared => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let builder = Builder::new(self.build_dir());
                Ok(runtime.block_on(builder.build(&manifest))?.artifact)
            }
            Std::Own => {
                let target = self.root.join("own-std");
                let status = Command::new("cargo")
                    .args([
                        "build",
                        "--quiet",
                        "--lib",
                        "--profile",
                        &manifest.build.profile,
                        "--manifest-path",
                    ])
                    .arg(package.join("Cargo.toml"))
                    .arg("--target-dir")
                    .arg(&target)
                    .status()?;
                ensure!(status.success(), "`cargo build` of {} failed: {status}", package.display());
                let folder = if manifest.build.profile == "dev" { "debug" } else { &manifest.build.profile };
                let name = package.file_name().unwrap_or_default().to_string_lossy().replace('-', "_");
                Ok(target.join(folder).join(format!("lib{name}.so")))
            }
        }
    }

    fn build_dir(&self) -> BuildDir {
        BuildDir::from(self.state_dir().join("build"))
    }

    /// The sandbox's folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the copies.
    pub fn plugins_dir(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// The state folder for the host.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("state")
    }
}

/// The project's own workspace manifest, with other members.
fn workspace_manifest() -> Result<String> {
    let mut manifest: Table = fs::read_to_string(workspace().join("Cargo.toml"))?.parse()?;
    let table = manifest.get_mut("workspace").and_then(Value::as_table_mut).context("no [workspace]")?;
    table.remove("default-members");
    table.remove("exclude");
    table.insert("members".into(), Value::Array(vec!["plugins/*".into()]));
    make_absolute(&mut manifest, workspace());
    for profile in manifest.get_mut("profile").and_then(Value::as_table_mut).into_iter().flatten() {
        // Cargo would warn about the packages in this table that the sandbox does not contain.
        profile.1.as_table_mut().map(|profile| profile.remove("package"));
    }
    Ok(manifest.to_string())
}

/// Makes the path dependencies relative to `folder` absolute.
fn make_absolute(table: &mut Table, folder: &Path) {
    for (key, value) in table.iter_mut() {
        let Some(table) = value.as_table_mut() else { continue };
        if !key.ends_with("dependencies") {
            make_absolute(table, folder);
            continue;
        }
        for dependency in table.iter_mut().filter_map(|(_, dependency)| dependency.as_table_mut()) {
            if let Some(Value::String(path)) = dependency.get_mut("path") {
                let absolute = folder.join(&*path);
                *path = absolute.canonicalize().unwrap_or(absolute).to_string_lossy().into_owned();
            }
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true if entry.file_name() == "target" => {}
            true => copy_folder(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), target)?),
        }
    }
    Ok(())
}
