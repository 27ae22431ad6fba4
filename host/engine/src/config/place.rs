//! Where a host keeps what it makes if its configuration does not say: below the target folder of the cargo workspace that
//! the plugins folder lies in, else in the user's state folder.
//!
//! Never in the plugins folder: a workspace with `members = ["plugins/*"]` takes every folder in it for a package.

use crate::{
    process_stat::ProcessStat,
    workspace::{Workspace, absolute_variable, build_dir, resolved},
};
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

/// The folder in the user's state folder that is this program's.
const OWN: &str = "replug";

/// The state folder in a plugins folder that earlier versions made.
const FORMER: &str = ".replug";

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
pub fn user_states() -> Option<PathBuf> {
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
        if fs::rename(&build, build_dir(&workspace.states())).is_err() {
            let _ = fs::remove_dir_all(build);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
