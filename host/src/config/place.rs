//! Where a host keeps what it makes if its configuration does not say: below the target folder of the cargo workspace that
//! the plugins folder lies in, else in the user's state folder.
//!
//! Never in the plugins folder: a workspace with `members = ["plugins/*"]` takes every folder in it for a package. The
//! workspace is found as cargo finds it, by looking for its Cargo.toml in the folders above; cargo itself would take too long
//! to be asked by every command.

use crate::process_stat::ProcessStat;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use sha2::{Digest as _, Sha256};
use std::{
    env,
    fs::{self, File},
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

/// The folder below a target folder, and below the user's state folder, that is this program's.
const OWN: &str = "replug";

/// The state folder in a plugins folder that versions before 0.2 made.
const FORMER: &str = ".replug";

/// A cargo workspace, as far as it is known without asking cargo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// The folder of its Cargo.toml.
    pub root: PathBuf,
    /// Where cargo builds it.
    pub target_dir: PathBuf,
}

impl Workspace {
    /// The workspace that a folder lies in: that of the nearest Cargo.toml at or above it with a `[workspace]`, else the
    /// nearest package, which is a workspace of its own.
    ///
    /// A package that the workspace excludes is counted to it all the same: the question is where files belong, not who is
    /// a member.
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

    fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), target_dir: target_dir(root) }
    }

    /// This program's folder below the target folder.
    fn own(&self) -> PathBuf {
        self.target_dir.join(OWN)
    }

    /// The folder in which the hosts of this workspace have their state folders by default.
    pub(crate) fn states(&self) -> PathBuf {
        self.own()
    }
}

/// Whether a Cargo.toml has the table `[workspace]`. One that is being edited may not be TOML.
fn declares_workspace(text: &str) -> bool {
    match text.parse::<toml::Table>() {
        Ok(table) => table.contains_key("workspace"),
        Err(_) => {
            let mut lines = text.lines().map(str::trim_start);
            lines.any(|line| line.starts_with("[workspace]") || line.starts_with("[workspace."))
        }
    }
}

/// Where cargo builds the workspace: as its variables say, its configuration, or in `target`.
fn target_dir(root: &Path) -> PathBuf {
    // Cargo takes a relative path from the working directory, which is another for each command.
    let named = ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET_DIR"].into_iter().find_map(absolute_variable);
    named.or_else(|| configured_target_dir(root)).unwrap_or_else(|| root.join("target"))
}

fn absolute_variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// `build.target-dir` of the nearest configuration of cargo's that has it.
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

/// Where cargo is told to build plugins.
#[derive(Clone, Debug)]
pub enum BuildDir {
    /// Below this folder.
    Below(PathBuf),
    /// Below the target folder of each plugin's workspace, whichever plugins folder it is found in; what belongs to no
    /// workspace, below this one.
    PerWorkspace(PathBuf),
}

impl BuildDir {
    /// The build folder that goes with a state folder: the first, if a configuration names it, else the second, which is the
    /// default.
    pub fn with(named: Option<&Path>, default: &Path) -> Self {
        match named {
            Some(named) => Self::Below(build_dir(named)),
            None => Self::PerWorkspace(build_dir(default)),
        }
    }

    /// The folder for a package that lies in `folder`.
    pub fn of(&self, folder: &Path) -> PathBuf {
        match self {
            Self::Below(dir) => dir.clone(),
            Self::PerWorkspace(rest) => match Workspace::around(folder) {
                Some(workspace) => build_dir(&workspace.own()),
                None => rest.clone(),
            },
        }
    }

    /// The folder for what no cargo builds.
    pub(crate) fn rest(&self) -> &Path {
        match self {
            Self::Below(dir) | Self::PerWorkspace(dir) => dir,
        }
    }
}

impl From<PathBuf> for BuildDir {
    fn from(dir: PathBuf) -> Self {
        // Without a working directory a relative path means nothing, and the first build says so.
        Self::Below(std::path::absolute(&dir).unwrap_or(dir))
    }
}

/// Where cargo builds, in a state folder.
fn build_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("build")
}

/// The state folder of a host of that plugins folder if its configuration names none: `<target>/replug/<name>-<hash>`, with
/// the target folder of the workspace that the plugins folder lies in; where there is no workspace,
/// `$XDG_STATE_HOME/replug/<name>-<hash>` or `~/.local/state/replug/<name>-<hash>`.
///
/// `.replug` in the plugins folder, which earlier versions made, is taken until a host or a build has moved it.
pub fn default_state_dir(plugins_dir: &Path) -> PathBuf {
    let plugins_dir = resolved(plugins_dir);
    let (place, former) = (place_of(&plugins_dir), plugins_dir.join(FORMER));
    if !place.exists() && is_state(&former) { former } else { place }
}

/// The same, for a host or a build that is about to write to it: what an earlier version left in the plugins folder is moved
/// there first, with a warning. It stays where it is, and in use, while a host of that version runs on it.
pub fn settle_state_dir(plugins_dir: &Path) -> PathBuf {
    let plugins_dir = resolved(plugins_dir);
    let (place, former) = (place_of(&plugins_dir), plugins_dir.join(FORMER));
    if place.exists() || !is_state(&former) || is_in_use(&former) {
        return default_state_dir(&plugins_dir);
    }
    let (from, to) = (former.display(), place.display());
    match move_state(&former, &place, Workspace::around(&plugins_dir).as_ref()) {
        Ok(()) => tracing::warn!("moved {from}, the state folder of an earlier version, to {to}"),
        // Another host may have moved it just now.
        Err(_) if place.exists() => {}
        Err(error) => {
            tracing::warn!(
                "cannot move {from}, the state folder of an earlier version, to {to}: {error}; it stays in use: move it \
                 by hand, or name a folder with `state_dir`"
            );
            return former;
        }
    }
    place
}

/// The folder in which hosts of plugins folders outside of any workspace have their state folders by default.
pub(crate) fn user_states() -> Option<PathBuf> {
    let state = absolute_variable("XDG_STATE_HOME").or_else(|| Some(env::home_dir()?.join(".local/state")));
    state.map(|state| state.join(OWN))
}

/// The place for the state of a plugins folder, whose path is resolved.
fn place_of(plugins_dir: &Path) -> PathBuf {
    let workspace = Workspace::around(plugins_dir);
    let (states, key) = match &workspace {
        // Below its own target folder, the state of a workspace moves with it.
        Some(workspace) if workspace.target_dir.starts_with(&workspace.root) => {
            (Some(workspace.states()), plugins_dir.strip_prefix(&workspace.root).unwrap_or(plugins_dir))
        }
        Some(workspace) => (Some(workspace.states()), plugins_dir),
        None => (user_states(), plugins_dir),
    };
    let Some(states) = states else { return plugins_dir.join(FORMER) };
    let hash = Sha256::digest(key.as_os_str().as_bytes());
    let hash: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let name = plugins_dir.file_name().unwrap_or_default().to_string_lossy();
    states.join(format!("{name}-{hash}"))
}

fn resolved(folder: &Path) -> PathBuf {
    let absolute = || std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    folder.canonicalize().unwrap_or_else(|_| absolute())
}

/// Whether a folder was made by a host. A link was made by its owner, who means it.
fn is_state(folder: &Path) -> bool {
    folder.symlink_metadata().is_ok_and(|it| it.is_dir()) && folder.join("run").is_dir()
}

/// Whether a host of an earlier version runs on a state folder: it holds the lock of its file in `hosts`, if it can be talked
/// to, and has a folder with its number in `run`.
fn is_in_use(state_dir: &Path) -> bool {
    let entries = |name: &str| fs::read_dir(state_dir.join(name)).into_iter().flatten().flatten();
    let is_held = |file: File| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    let is_alive = |name: &str| {
        let number = name.split_once('-').and_then(|(number, _)| number.parse().ok());
        number.and_then(ProcessStat::of).is_some()
    };
    entries("hosts").any(|it| File::open(it.path()).is_ok_and(is_held))
        || entries("run").any(|it| it.file_name().to_str().is_some_and(is_alive))
}

fn move_state(former: &Path, place: &Path, workspace: Option<&Workspace>) -> io::Result<()> {
    fs::create_dir_all(place.parent().unwrap_or(place))?;
    fs::rename(former, place)?;
    if let Some(workspace) = workspace {
        // What cargo has made is of use only where it is looked for; where it cannot go there, it is made again.
        let build = build_dir(place);
        if fs::rename(&build, build_dir(&workspace.own())).is_err() {
            let _ = fs::remove_dir_all(build);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
