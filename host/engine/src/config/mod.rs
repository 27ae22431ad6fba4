//! The settings of a running host, and where it keeps its files. The configuration is read by `replug-config`.

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

/// What a host is told.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) plugins_dir: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// Whether plugins start by themselves.
    pub(crate) auto_start: bool,
    pub(crate) events: EventSink,
    /// What is in effect; see [`Settings::now`].
    pub(crate) config: Mutex<ConfigState>,
}

/// The settings of a host, as its configuration gives them.
#[derive(Debug)]
pub(crate) struct ConfigState {
    pub(crate) now: Arc<HostConfig>,
    /// The keys that say something else now and count at the next start.
    pub(crate) pending: Vec<String>,
    /// Why what it says last was refused, if it was.
    pub(crate) refused: Option<String>,
}

impl Settings {
    /// The configuration in effect.
    pub(crate) fn now(&self) -> Arc<HostConfig> {
        self.config.lock().now.clone()
    }
}

/// The folder in which a host keeps what it makes; [`default_state_dir`] says which by default.
///
/// | folder | holds |
/// |---|---|
/// | `build` | what scripts build, and cargo where a configuration names the state folder; see [`BuildDir`](crate::BuildDir) |
/// | `artifacts` | the store |
/// | `run/<pid>-<n>` | the files that this process has opened, and its crash record; gone with it; a file in it is locked while the host runs |
/// | `data/<id>` | what the plugin keeps |
/// | `demoted/<id>.json` | the plugin's artifacts that have crashed a host; without it, they are given another chance |
/// | `checkpoints/<id>` | the plugin's last saved state: its last checkpoint while it runs, else what it had when it stopped |
/// | `plugins/<id>` | what is remembered of the plugin: whether it is stopped, what served, what it can go back to |
/// | `hosts/<hash>` | where the host of a plugins folder listens, if it has a control plane; locked while it runs |
/// | `http-token` | the token for the HTTP API, if that was ever served |
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    root: PathBuf,
    run: Arc<RunDir>,
}

/// The plugins folder of a host that is not told of another.
pub(crate) const DEFAULT_PLUGINS_DIR: &str = "plugins";

/// Where the store is, in a state folder.
pub fn artifacts_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("artifacts")
}

static COPIES: AtomicU64 = AtomicU64::new(1);

impl StateDir {
    /// Makes the folders, and removes what processes that are gone have left, after `last_look` has seen each of their
    /// run folders.
    pub(crate) fn create(root: &Path, last_look: impl FnMut(&Path)) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        if root.to_str().is_none() {
            let reason = "a plugin is told where it lies in UTF-8, which the path of this folder is not";
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, reason));
        }
        if mount::is_noexec(&root) {
            let reason = "it is on a file system that is mounted `noexec`, and the dynamic loader opens no plugin there";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
        }
        keep_out_of_git(&root)?;
        let run = Arc::new(RunDir::create(&root.join("run"), last_look)?);
        Ok(Self { root, run })
    }

    /// The folder of this process's files, which goes with it.
    pub(crate) fn run(&self) -> &Path {
        self.run.path()
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the store is.
    pub(crate) fn artifacts(&self) -> PathBuf {
        artifacts_dir(&self.root)
    }

    /// Where a plugin keeps its data; made if it is not there.
    pub(crate) fn data(&self, id: &PluginId) -> io::Result<PathBuf> {
        let dir = self.root.join("data").join(id.as_str());
        fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// What is remembered of artifacts that have crashed.
    pub(crate) fn demoted(&self) -> PathBuf {
        self.root.join("demoted")
    }

    /// Where the plugins' last saved states are.
    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Where the plugins' records are.
    pub(crate) fn records(&self) -> PathBuf {
        self.root.join("plugins")
    }

    /// A path that this process never opened before: the dynamic loader takes a known name for a known library.
    ///
    /// If someone has removed the state folder (`git clean`, `cargo clean`), what is needed of it is made again.
    pub(crate) fn new_copy(&self, id: &PluginId) -> PathBuf {
        // What cannot be made is missing to whoever writes the copy, who says so.
        let _ = self.run.renew().and_then(|()| keep_out_of_git(&self.root));
        self.run().join(format!("{}-{}.so", id.short(), COPIES.fetch_add(1, Ordering::Relaxed)))
    }

    /// Removes the files that this process has opened. What is mapped stays mapped.
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
    fn a_folder_that_cannot_be_named_in_utf_8_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (state, link) = (dir.path().join(OsStr::from_bytes(b"st\xffte")), dir.path().join("link"));
        symlink(&state, &link).unwrap();
        for path in [&state, &link] {
            let error = StateDir::create(path, |_| ()).unwrap_err().to_string();
            assert!(error.contains("UTF-8, which the path of this folder is not"), "{error}");
        }
        assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_process_left_is_removed_and_every_copy_has_a_new_name() {
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
