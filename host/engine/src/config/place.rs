//! The default state folder. It is below the target folder of the cargo workspace that contains the plugins folder.
//! Without a workspace, it is in the user's state folder.
//!
//! The default is not in the plugins folder, because a workspace with `members = ["plugins/*"]` treats every folder in
//! the plugins folder as a package.

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

/// This program's folder in the user's state folder.
const OWN: &str = "replug";

/// The name of the state folder that earlier versions of replug created in the plugins folder.
const FORMER: &str = ".replug";

/// The default state folder for the plugins folder `plugins_dir`: `<target>/replug/<name>-<hash>`, in the target folder
/// of the workspace that contains the plugins folder. Without a workspace, it is `$XDG_STATE_HOME/replug/<name>-<hash>`
/// or `~/.local/state/replug/<name>-<hash>`.
///
/// If an earlier version of replug has created the state folder `.replug` in the plugins folder, the default is that
/// folder until [`settle_state_dir`] has moved it.
pub fn default_state_dir(plugins_dir: &Path) -> PathBuf {
    let plugins_dir = resolved(plugins_dir);
    let (place, former) = (place_of(&plugins_dir), plugins_dir.join(FORMER));
    if !place.exists() && is_state(&former) { former } else { place }
}

/// The default state folder, for a host or a build that is about to write to it. If an earlier version of replug has
/// left its state folder in the plugins folder, that folder is first moved to the new default, with a warning. If a
/// host uses the old folder, or if the move fails, the result is the old folder.
pub fn settle_state_dir(plugins_dir: &Path) -> PathBuf {
    let plugins_dir = resolved(plugins_dir);
    let (place, former) = (place_of(&plugins_dir), plugins_dir.join(FORMER));
    if place.exists() || !is_state(&former) || is_in_use(&former) {
        return default_state_dir(&plugins_dir);
    }
    let (from, to) = (former.display(), place.display());
    match move_state(&former, &place, Workspace::around(&plugins_dir).as_ref()) {
        Ok(()) => tracing::warn!("moved {from}, the state folder of an earlier version, to {to}"),
        // Another host may have moved the folder just now.
        Err(_) if place.exists() => {}
        Err(error) => {
            tracing::warn!(
                "cannot move {from}, the state folder of an earlier version, to {to}: {error}; it stays in use: move it \
                 by hand, or set another folder with `state_dir`"
            );
            return former;
        }
    }
    place
}

/// The parent of the default state folders for plugins folders outside of any workspace. `None` if the user has no home
/// folder.
pub fn user_states() -> Option<PathBuf> {
    let state = absolute_variable("XDG_STATE_HOME").or_else(|| Some(env::home_dir()?.join(".local/state")));
    state.map(|state| state.join(OWN))
}

/// The default state folder of a plugins folder, whose path has to be resolved.
fn place_of(plugins_dir: &Path) -> PathBuf {
    let workspace = Workspace::around(plugins_dir);
    let (states, key) = match &workspace {
        // If the target folder is inside the workspace, a user who moves the workspace also moves the state folder. So
        // the name of the state folder must not depend on the path of the workspace.
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

/// Whether a host created the folder. A link is excluded, because only users create links.
fn is_state(folder: &Path) -> bool {
    folder.symlink_metadata().is_ok_and(|it| it.is_dir()) && folder.join("run").is_dir()
}

/// Whether a host of an earlier version of replug uses a state folder. Such a host has a folder with its pid in `run`.
/// If it has a control plane, it also holds the lock of a file in `hosts`.
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
        // The output of cargo is useful only in the folder that cargo uses. If it cannot be moved to that folder, it is
        // removed and built again.
        let build = build_dir(place);
        if fs::rename(&build, build_dir(&workspace.states())).is_err() {
            let _ = fs::remove_dir_all(build);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
