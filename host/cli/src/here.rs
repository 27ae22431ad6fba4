//! The defaults of a command without a given folder: the plugins folder and the running host to which the working
//! directory belongs.

use super::error::CliError;
use replug::{
    Workspace,
    control::{FoundHost, find_socket, hosts_around},
    manifest::holds_manifest,
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The usual name of a plugins folder.
const USUAL: &str = "plugins";

/// The folders by which a command finds a host.
pub(super) struct HostLocator {
    pub(super) plugins: PathBuf,
    pub(super) state_dir: PathBuf,
}

impl HostLocator {
    /// A host with the default state folder.
    pub(super) fn by_default(plugins: &Path) -> Self {
        Self { plugins: plugins.to_owned(), state_dir: replug::default_state_dir(plugins) }
    }
}

/// The plugins folder: `plugins` in the working directory, or the working directory itself if it is a plugin's folder.
/// If there is neither, the search continues in the parent folders, up to the root of the cargo workspace.
pub(super) fn usual_plugins_dir() -> Option<PathBuf> {
    let here = env::current_dir().ok()?;
    let usual = usual_of(&Workspace::folders_around(&here))?;
    Some(match usual.strip_prefix(&here) {
        // The empty path is not a valid path.
        Ok(below) if below.as_os_str().is_empty() => ".".into(),
        Ok(below) => below.to_owned(),
        Err(_) => usual,
    })
}

/// The default plugins folder, for `folders`: the working directory and its parents, the nearest first. A folder that
/// does not look like a plugins folder, such as a module with the name `plugins`, is used only if there is no other.
fn usual_of(folders: &[PathBuf]) -> Option<PathBuf> {
    let usual_in = |folder: &PathBuf| {
        let plugins = folder.join(USUAL);
        // If a plugin is in a plugins folder, that folder is the default, not the folder of the plugin.
        let is_in_one = || {
            let above = folder.parent().filter(|it| it.ends_with(USUAL)).and_then(Path::parent);
            above.is_some_and(|above| folders.iter().any(|it| it == above))
        };
        if plugins.is_dir() {
            return Some(plugins);
        }
        (holds_manifest(folder) && !is_in_one()).then(|| folder.clone())
    };
    let found: Vec<_> = folders.iter().filter_map(usual_in).collect();
    found.iter().find(|it| looks_like_plugins(it)).or(found.first()).cloned()
}

/// Whether a folder contains a plugin, is the folder of a plugin, or is empty.
fn looks_like_plugins(folder: &Path) -> bool {
    let entries = || fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    holds_manifest(folder) || entries().next().is_none() || entries().any(|entry| holds_manifest(&entry))
}

/// The working directory, if a host serves it as its plugins folder. The folder may have any name and content, because
/// `replug dev .` accepts any folder.
pub(super) fn served_here() -> Option<PathBuf> {
    is_served(&HostLocator::by_default(Path::new("."))).then(|| ".".into())
}

/// Whether the socket of this host exists, so that the host may be running.
pub(super) fn is_served(host: &HostLocator) -> bool {
    find_socket(&host.plugins, &host.state_dir).exists()
}

/// Whether a host serves a plugins folder that contains this folder. A second host of that plugins folder would be
/// rejected.
pub(super) fn is_in_served_folder(folder: &Path) -> bool {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let is_served_above = folder.parent().is_some_and(|above| is_served(&HostLocator::by_default(above)));
    is_served_above || hosts_around(&folder).iter().any(|host| folder.starts_with(&host.plugins))
}

/// The running host whose plugins folder contains the working directory, or else the only host of the workspace.
pub(super) fn host_around() -> Result<Option<HostLocator>, CliError> {
    let Ok(here) = env::current_dir() else { return Ok(None) };
    let hosts = hosts_around(&here);
    match hosts.as_slice() {
        [] => Ok(None),
        [first, rest @ ..] if rest.is_empty() || here.starts_with(&first.plugins) => {
            Ok(Some(HostLocator::by_default(&first.plugins)))
        }
        several => {
            let name = |host: &FoundHost| host.plugins.display().to_string();
            let names = several.iter().map(name).collect::<Vec<_>>().join(", ");
            Err(CliError::NotFound(format!(
                "several hosts run in this workspace: give the folder of one of them: {names}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default plugins folder in the working directory `at`, in a workspace with these folders. Each folder with
    /// the name `one` contains a plugin.
    fn usual_at(folders: &[&str], at: &str) -> Option<PathBuf> {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("Cargo.toml"), "[workspace]").unwrap();
        for folder in folders.iter().chain([&at]) {
            fs::create_dir_all(root.join(folder)).unwrap();
            if folder.ends_with("one") {
                fs::write(root.join(folder).join("plugin.toml"), "").unwrap();
            }
        }
        let usual = usual_of(&Workspace::folders_around(&root.join(at)));
        usual.map(|usual| usual.strip_prefix(&root).unwrap().to_owned())
    }

    #[test]
    fn the_plugins_folder_is_the_same_from_every_folder_of_a_workspace() {
        for at in ["", "plugins", "plugins/one", "plugins/one/src", "crates/core/src", "src"] {
            assert_eq!(usual_at(&["plugins/one"], at), Some("plugins".into()), "{at}");
        }
        assert_eq!(usual_at(&["plugins"], "src"), Some("plugins".into()), "the folder has no plugin yet");
        assert_eq!(usual_at(&[], "src"), None);
    }

    #[test]
    fn a_module_named_plugins_is_used_only_if_there_is_no_other() {
        let folders = ["plugins/one", "core/src/plugins/loader"];
        for at in ["core/src/plugins", "core/src"] {
            assert_eq!(usual_at(&folders, at), Some("plugins".into()), "{at}");
        }
        let alone = usual_at(&["core/src/plugins/loader"], "core/src");
        assert_eq!(alone, Some("core/src/plugins".into()), "there is no other folder");
    }

    #[test]
    fn a_plugin_outside_of_a_plugins_folder_is_its_own_default_folder() {
        for at in ["apart/one", "apart/one/src"] {
            assert_eq!(usual_at(&["apart/one"], at), Some("apart/one".into()), "{at}");
        }
        let nearest = usual_at(&["plugins/one", "demo/plugins/one"], "demo");
        assert_eq!(nearest, Some("demo/plugins".into()));
    }
}
