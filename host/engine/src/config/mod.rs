//! The settings of a running host, and the folders of its files. `replug-config` reads the configuration.

mod place;
mod run;

pub use place::{default_state_dir, settle_state_dir, user_states};
pub use replug_config::host::{
    ConfigError, HostConfig, HttpSettings, Layers, LogFormat, LogSettings, OtelSettings, TlsFiles, WatchPoll,
};

use crate::{event::EventSink, id::PluginId, mount};
use parking_lot::Mutex;
use run::RunDir;
pub(crate) use run::host_lives;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The settings of a host.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) plugins_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// Whether plugins start with the host.
    pub(crate) auto_start: bool,
    pub(crate) events: EventSink,
    /// The configuration in effect; see [`Settings::now`].
    pub(crate) config: Mutex<ConfigState>,
}

/// The state of a host's configuration.
#[derive(Debug)]
pub(crate) struct ConfigState {
    pub(crate) now: Arc<HostConfig>,
    /// The keys whose changed values take effect at the next start.
    pub(crate) pending: Vec<String>,
    /// Why the latest configuration was rejected, if it was.
    pub(crate) refused: Option<String>,
}

impl Settings {
    /// The configuration in effect.
    pub(crate) fn now(&self) -> Arc<HostConfig> {
        self.config.lock().now.clone()
    }
}

/// The folder in which a host keeps its files; [`default_state_dir`] returns the default.
///
/// | path | content |
/// |---|---|
/// | `build` | the output of the programs that manifests name as `build.script`, and of cargo if a configuration sets the state folder; see [`BuildDir`](crate::BuildDir) |
/// | `artifacts` | the store |
/// | `run/<pid>-<n>` | the run folder of one host: the private copies of artifacts, the crash record, and a file that is locked while the host runs; removed when the host ends |
/// | `data/<id>` | the plugin's own data |
/// | `demoted/<id>.json` | the list of the plugin's artifacts that have crashed, and therefore do not run in the host's process |
/// | `checkpoints/<id>` | the plugin's last saved state: its last checkpoint while it runs, or the state that it had when it was stopped |
/// | `plugins/<id>` | the record of the plugin: whether it is stopped, which version served, and the versions for rollbacks |
/// | `hosts/<hash>` | a file with the addresses of the control plane of the host that serves a plugins folder; the host keeps it locked while it runs |
/// | `http-token` | the token for the HTTP API, if a host has ever served that API |
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    run: Arc<RunDir>,
}

/// The default plugins folder.
pub(crate) const DEFAULT_PLUGINS_DIR: &str = "plugins";

/// The store in a state folder.
pub fn artifacts_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("artifacts")
}

static COPIES: AtomicU64 = AtomicU64::new(1);

impl StateDir {
    /// Creates the state folder and a run folder. Calls `last_look` with the run folder of each host that has ended,
    /// and then removes that run folder.
    ///
    /// # Errors
    ///
    /// The error of the file system, or a description of an unsuitable folder: its path is not UTF-8, or its file
    /// system is mounted `noexec`.
    pub(crate) fn create(root: &Path, last_look: impl FnMut(&Path)) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if root.to_str().is_none() {
            let reason = "plugins get the path of their data folder as UTF-8, and the path of this folder is not UTF-8";
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, reason));
        }
        if mount::is_noexec(&root) {
            let reason =
                "its file system is mounted `noexec`, and the dynamic loader cannot open a plugin there";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        keep_out_of_git(&root)?;
        let run = Arc::new(RunDir::create(&root.join("run"), last_look)?);
        Ok(Self { root, run })
    }

    /// The run folder.
    pub(crate) fn run(&self) -> &Path {
        self.run.path()
    }

    /// The state folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of the store.
    pub(crate) fn artifacts(&self) -> PathBuf {
        artifacts_dir(&self.root)
    }

    /// The data folder of a plugin. Creates the folder if it does not exist.
    pub(crate) fn data(&self, id: &PluginId) -> io::Result<PathBuf> {
        let dir = self.root.join("data").join(id.as_str());
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The folder with the lists of the artifacts that have crashed, one file for each plugin.
    pub(crate) fn demoted(&self) -> PathBuf {
        self.root.join("demoted")
    }

    /// The folder of the plugins' saved states.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// The folder of the plugins' records.
    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// A path that this process has never opened before. The dynamic loader identifies a library by its path, so a copy
    /// at a known path would not be loaded.
    ///
    /// If the state folder was removed (`git clean`, `cargo clean`), the run folder is created again.
    pub(crate) fn new_copy(&self, id: &PluginId) -> PathBuf {
        // If the folder cannot be created, writing the copy fails, which is reported.
        let _ = self.run.renew().and_then(|()| keep_out_of_git(&self.root));
        self.run().join(format!("{}-{}.so", id.short(), COPIES.fetch_add(1, Ordering::Relaxed)))
    }

    /// Removes the run folder. Mapped files stay mapped.
    pub(crate) fn remove_run(&self) {
        self.run.remove();
    }
}

fn keep_out_of_git(root: &Path) -> io::Result<()> {
    let ignore = root.join(".gitignore");
    if ignore.exists() { Ok(()) } else { fs::write(ignore, "*\n") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        ffi::OsStr,
        os::unix::{ffi::OsStrExt, fs::symlink},
    };

    #[test]
    fn a_state_folder_whose_path_is_not_utf_8_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let (state, link) = (dir.path().join(OsStr::from_bytes(b"st\xffte")), dir.path().join("link"));
        symlink(&state, &link).unwrap();
        for path in [&state, &link] {
            let error = StateDir::create(path, |_| ()).unwrap_err().to_string();
            assert!(error.contains("the path of this folder is not UTF-8"), "{error}");
        }
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }

    #[test]
    fn create_removes_stale_run_folders_and_each_copy_has_a_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("run/4294967295-1");
        fs::create_dir_all(&left).unwrap();
        let mut seen = Vec::new();
        let state = StateDir::create(dir.path(), |run| seen.push((run.to_owned(), run.exists()))).unwrap();
        assert_eq!(seen, [(dir.path().canonicalize().unwrap().join("run/4294967295-1"), true)]);
        assert!(!left.exists());
        let id: PluginId = "dev.replug.counter".parse().unwrap();
        assert_ne!(state.new_copy(&id), state.new_copy(&id));
        assert!(state.data(&id).unwrap().is_dir());
        state.remove_run();
        assert_eq!(fs::read_dir(dir.path().join("run")).unwrap().count(), 0);
    }
}
