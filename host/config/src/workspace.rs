//! The cargo workspace of a folder, and the folder in which cargo builds its packages.
//!
//! This module searches the parent folders for a Cargo.toml, as cargo does. Running cargo for every command would be
//! too slow.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

/// A cargo workspace, as determined without running cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The folder of the workspace's Cargo.toml.
    pub root: PathBuf,
    /// The folder in which cargo builds the workspace.
    pub target_dir: PathBuf,
}

impl Workspace {
    /// The workspace of a folder: the nearest Cargo.toml with a table `[workspace]`, in the folder or above it. If no
    /// Cargo.toml has the table, the nearest Cargo.toml counts as a workspace. `None` if there is no Cargo.toml.
    ///
    /// The folder of a package that a workspace excludes belongs to that workspace, too. This method determines where
    /// the host keeps its files, and ignores which packages are members.
    pub fn around(folder: &Path) -> Option<Self> {
        let folder = resolved(folder);
        let mut package = None;
        for above in folder.ancestors() {
            let Ok(text) = fs::read_to_string(above.join("Cargo.toml")) else { continue };
            if declares_workspace(&text) {
                return Some(Self::at(above));
            }
            package = package.or(Some(above));
        }
        package.map(Self::at)
    }

    /// The folder and its parent folders up to the root of its workspace, the nearest first. Callers search these
    /// folders for files that apply to the whole workspace. Without a workspace, the result is only the folder.
    pub fn folders_around(folder: &Path) -> Vec<PathBuf> {
        let folder = resolved(folder);
        let root = Self::around(&folder).map_or_else(|| folder.clone(), |workspace| workspace.root);
        folder.ancestors().take_while(|above| above.starts_with(&root)).map(Path::to_owned).collect()
    }

    fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), target_dir: target_dir(root) }
    }

    /// The folder `replug` in the target folder, for builds and for the state folders of the workspace's hosts.
    pub fn states(&self) -> PathBuf {
        self.target_dir.join("replug")
    }
}

/// Whether a Cargo.toml has the table `[workspace]`. A file that is being edited may not be valid TOML.
fn declares_workspace(text: &str) -> bool {
    match text.parse::<toml::Table>() {
        Ok(table) => table.contains_key("workspace"),
        Err(_) => {
            let mut lines = text.lines().map(str::trim_start);
            lines.any(|line| line.starts_with("[workspace]") || line.starts_with("[workspace."))
        }
    }
}

/// The folder in which cargo builds the workspace. It is determined by cargo's environment variables or by cargo's
/// configuration. The default is `target`.
fn target_dir(root: &Path) -> PathBuf {
    // A relative path is ignored: cargo resolves it against the working directory, which differs between commands.
    let named = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter().find_map(absolute_variable);
    named.or_else(|| configured_target_dir(root)).unwrap_or_else(|| root.join("target"))
}

/// The path in an environment variable. `None` if the variable is not set or the path is relative.
pub fn absolute_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// `build.target-dir` of the nearest cargo configuration that sets it.
fn configured_target_dir(root: &Path) -> Option<PathBuf> {
    let above = root.ancestors().map(|folder| (folder.join(".cargo"), Some(folder.to_owned())));
    let home = absolute_variable("CARGO_HOME").or_else(|| Some(env::home_dir()?.join(".cargo")));
    let home = home.map(|home| (home.clone(), home.parent().map(Path::to_owned)));
    above.chain(home).find_map(|(dir, base)| {
        let text =
            ["config", "config.toml"].iter().find_map(|name| fs::read_to_string(dir.join(name)).ok())?;
        let table = text.parse::<toml::Table>().ok()?;
        let named = table.get("build")?.get("target-dir")?.as_str()?;
        Some(base?.join(named))
    })
}

/// The folder in which cargo builds plugins.
#[derive(Clone, Debug)]
pub enum BuildDir {
    /// Below the given folder.
    Below(PathBuf),
    /// Below the target folder of each plugin's workspace, so that all plugins folders of a workspace share one build
    /// folder. A plugin without a workspace is built below the given folder.
    PerWorkspace(PathBuf),
}

impl BuildDir {
    /// The build folder of a host. `named` is the state folder that the configuration sets, and `default` the default
    /// state folder. If `named` is set, all plugins are built below it. Otherwise, each plugin is built below the
    /// target folder of its workspace, and a plugin without a workspace below `default`.
    pub fn with(named: Option<&Path>, default: &Path) -> Self {
        match named {
            Some(named) => Self::Below(build_dir(named)),
            None => Self::PerWorkspace(build_dir(default)),
        }
    }

    /// The folder for builds of a package in `folder`.
    pub fn of(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Below(dir) => dir.clone(),
            Self::PerWorkspace(rest) => match Workspace::around(folder) {
                Some(workspace) => build_dir(&workspace.states()),
                None => rest.clone(),
            },
        }
    }

    /// Cargo's target folder for the workspace whose root is `root`.
    pub fn target_dir(&self, root: &Path) -> PathBuf {
        target_dir_below(&self.of(root), root)
    }

    /// The folder for builds that do not use cargo.
    pub fn rest(&self) -> &Path {
        match self {
            Self::Below(dir) | Self::PerWorkspace(dir) => dir,
        }
    }
}

impl From<PathBuf> for BuildDir {
    fn from(dir: PathBuf) -> Self {
        // If the working directory does not exist, a relative path cannot be resolved. The first build then reports an
        // error.
        Self::Below(std::path::absolute(&dir).unwrap_or(dir))
    }
}

/// Cargo's target folder below `dir` for the workspace whose root is `root`.
///
/// Packages of the same name in two workspaces must not share a folder, because cargo would confuse them.
pub fn target_dir_below(dir: &Path, root: &Path) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    let name = root.file_name().unwrap_or_default().to_string_lossy();
    dir.join(format!("{name}-{:016x}", hasher.finish()))
}

/// The folder for builds in a state folder.
pub fn build_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("build")
}

/// The path with all links resolved. If the path does not exist, the absolute path.
pub fn resolved(folder: &Path) -> PathBuf {
    let absolute = || std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.canonicalize().unwrap_or_else(|_| absolute())
}

#[cfg(test)]
pub(crate) mod tests;
