//! What a command goes by that names no folder: the plugins folder, and the running host, that the working directory belongs
//! to.

use super::{args::Whereabouts, error::CliError};
use replug::{
    Workspace,
    control::{FoundHost, find_socket, hosts_around},
    manifest::holds_manifest,
};
use std::{
    env,
    path::{Path, PathBuf},
};

/// The plugins folder: `plugins` in the working directory, or the working directory itself if it is a plugin's; else the same
/// of the folders above, up to the root of the cargo workspace.
pub(super) fn usual_plugins_dir() -> Option<PathBuf> {
    usual_in(Path::new("")).or_else(|| {
        let here = env::current_dir().ok()?;
        let root = Workspace::around(&here)?.root;
        here.ancestors().skip(1).take_while(|above| above.starts_with(&root)).find_map(usual_in)
    })
}

fn usual_in(folder: &Path) -> Option<PathBuf> {
    let plugins = folder.join("plugins");
    if plugins.is_dir() {
        return Some(plugins);
    }
    // As a path, the empty one leads nowhere.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    holds_manifest(folder).then(|| folder.to_owned())
}

/// This folder, if a host serves it: `replug dev .` takes any.
pub(super) fn served_here() -> Option<PathBuf> {
    is_served(&Whereabouts::by_default(Path::new("."))).then(|| ".".into())
}

/// Whether a host may be there.
pub(super) fn is_served(host: &Whereabouts) -> bool {
    find_socket(&host.plugins, &host.state_dir).exists()
}

/// The running host whose plugins folder the working directory lies in, else the only one of the workspace.
pub(super) fn host_around() -> Result<Option<Whereabouts>, CliError> {
    let Ok(here) = env::current_dir() else { return Ok(None) };
    let hosts = hosts_around(&here);
    match hosts.as_slice() {
        [] => Ok(None),
        [first, rest @ ..] if rest.is_empty() || here.starts_with(&first.plugins) => {
            Ok(Some(Whereabouts::by_default(&first.plugins)))
        }
        several => {
            let name = |host: &FoundHost| host.plugins.display().to_string();
            let names = several.iter().map(name).collect::<Vec<_>>().join(", ");
            Err(CliError::NotFound(format!(
                "several hosts run in this workspace: name the folder of one: {names}"
            )))
        }
    }
}
