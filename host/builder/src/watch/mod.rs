//! Detects changes: files whose content differs from the last reported content, and plugins that appear or disappear.
//!
//! There is no debounce window: the watcher reports new content as soon as an event shows the change, and reports each
//! later write separately. It compares a hash of each file's content. So it does not matter how an editor saves a file,
//! and a new mtime alone is not a change. The watcher watches folders and never files, because editors replace files by
//! renaming.
//!
//! One thread owns all state. It receives events and new inputs through one channel, which orders them.

mod batch;
mod content;
mod file;
mod paths;
mod poll;
mod settle;
#[cfg(test)]
mod tests;
mod watch_loop;

pub use content::{Content, changed_at};
pub(crate) use content::{is_ignored, is_ignored_below};
pub use file::FileWatch;
pub use paths::links_on;
pub use poll::{Poll, file_system_without_events};
pub use settle::{StaleLocks, Stamps};

use replug_model::id::PluginId;
use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc::UnboundedSender;
use watch_loop::{Message, WatchLoop};

/// How long a file other than a manifest must be missing or empty before the watcher reports it. Some editors delete or
/// truncate a file before they write it again. A branch switch removes each file before it writes the other version.
pub const GRACE: Duration = Duration::from_millis(300);

/// The maximum by which file times lag behind the clock: the kernel uses the time of its last tick.
pub const CLOCK_GRAIN: Duration = Duration::from_millis(20);

/// The inputs of a plugin: the files from which it is built. All paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Single files, and links to folders. They and the folders that contain them need not exist.
    pub files: BTreeSet<PathBuf>,
    /// Folders in which every file counts, including new ones, except hidden files, backup files and `target`.
    pub dirs: BTreeSet<PathBuf>,
    /// Files and folders below `dirs` that do not count, such as the outputs of a build script.
    pub except: BTreeSet<PathBuf>,
    /// When the build that found these inputs began. A file that was not an input before and that has changed since
    /// then is reported immediately, because the build may have read its previous content.
    pub as_of: Option<SystemTime>,
}

/// The report that a file of a plugin has new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The plugin. A file that belongs to several plugins causes a change for each.
    pub plugin: PluginId,
    /// The file.
    pub path: PathBuf,
    /// When the file was saved: its mtime if that is within the last 10 seconds, or else the time of the event.
    pub saved_at: SystemTime,
    /// The kind of the file.
    pub what: What,
    /// The previous content of the file, if it is known.
    pub before: Option<Content>,
}

/// The kind of a changed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// An input of the artifact.
    Source,
    /// The plugin's manifest.
    Manifest,
}

/// A report of a [`Watcher`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file of a plugin has new content, or was deleted.
    Changed(Change),
    /// A folder below the plugins folder appeared or disappeared, a manifest that does not belong to a plugin yet was
    /// changed, a manifest was deleted, or the plugins folder itself appeared or disappeared. The receiver must
    /// discover the plugins again.
    PluginsChanged,
    /// Events were lost, for the reason in the text. The receiver must discover the plugins again, and build all
    /// plugins that may have changed.
    Lost(String),
}

/// Why a file or folder cannot be watched.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the path and the cause that the message names")]
pub enum WatchError {
    /// The system's limit of watched folders is reached.
    #[error(
        "{}: cannot be watched: the limit fs.inotify.max_user_watches is reached; raise it: sudo sysctl fs.inotify.max_user_watches=524288",
        path.display()
    )]
    TooManyWatches { path: PathBuf },
    /// The system's limit of inotify instances is reached.
    #[error(
        "{}: cannot be watched: the limit fs.inotify.max_user_instances (or of open files) is reached; raise it: sudo sysctl fs.inotify.max_user_instances=512",
        path.display()
    )]
    TooManyInstances { path: PathBuf },
    /// Any other reason, such as a folder that may not be read.
    #[error("{}: cannot be watched: {source}; check that this user may read it", path.display())]
    Refused { path: PathBuf, source: notify::Error },
    /// The watcher's thread could not be started, or has exited.
    #[error("cannot watch files: the watcher has no thread: {source}; restart the host")]
    NoThread { source: io::Error },
}

replug_model::readable::readable!(WatchError);

impl WatchError {
    fn new(path: &Path, mut source: notify::Error) -> Self {
        let path = path.to_owned();
        // Without this, the message would name the path twice.
        source.paths.clear();
        match &source.kind {
            notify::ErrorKind::MaxFilesWatch => Self::TooManyWatches { path },
            notify::ErrorKind::Io(error) => match rustix::io::Errno::from_io_error(error) {
                Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => Self::TooManyInstances { path },
                Some(rustix::io::Errno::NOSPC) => Self::TooManyWatches { path },
                _ => Self::Refused { path, source },
            },
            _ => Self::Refused { path, source },
        }
    }
}

/// Watches a plugins folder and the inputs of the plugins in it, until this value is dropped.
#[derive(Debug)]
pub struct Watcher {
    messages: mpsc::Sender<Message>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    /// Watches `plugins_dir` and sends reports to `notices`. `poll` determines when files are polled.
    ///
    /// The folder need not exist: the watcher notices its creation, as long as its parent folder exists. The
    /// watcher also notices when a link in the path of the plugins folder changes.
    ///
    /// # Errors
    ///
    /// * [`WatchError::TooManyInstances`], [`WatchError::TooManyWatches`]: a limit of the system is reached.
    /// * [`WatchError::Refused`]: the folder may not be watched.
    /// * [`WatchError::NoThread`]: no thread could be started.
    pub fn new(plugins_dir: &Path, poll: Poll, notices: UnboundedSender<Notice>) -> Result<Self, WatchError> {
        let (messages, received) = mpsc::channel();
        let events = messages.clone();
        let notify = notify::recommended_watcher(move |event| {
            // An error means that the watcher is being dropped.
            let _ = events.send(Message::Event(event, SystemTime::now()));
        })
        .map_err(|source| WatchError::new(plugins_dir, source))?;
        let mut watch_loop = WatchLoop::new(plugins_dir, (notify, poll), notices)?;
        let thread = thread::Builder::new()
            .name("replug-watch".into())
            .spawn(move || watch_loop.run(&received))
            .map_err(|source| WatchError::NoThread { source })?;
        Ok(Self { messages, thread: Some(thread) })
    }

    /// Watches `inputs` as the inputs of `plugin`, instead of its previous inputs.
    ///
    /// After this method has returned, every later change is reported. The current content of a file that was not
    /// watched before counts as known, unless the file is newer than [`Inputs::as_of`]. Blocks for some milliseconds to
    /// read the new files.
    ///
    /// # Errors
    ///
    /// * [`WatchError::TooManyWatches`]: the limit is reached. Folders that are already watched stay watched.
    /// * [`WatchError::Refused`]: a folder may not be watched.
    /// * [`WatchError::NoThread`]: the watcher's thread has exited.
    pub fn set_inputs(&self, plugin: &PluginId, inputs: Inputs) -> Result<(), WatchError> {
        let (reply, answer) = mpsc::channel();
        let ended = || WatchError::NoThread { source: io::ErrorKind::BrokenPipe.into() };
        self.messages.send(Message::Set(plugin.clone(), inputs, reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }

    /// Stops watching the inputs of `plugin`.
    pub fn remove(&self, plugin: &PluginId) {
        // An error means that the watcher's thread has exited.
        let _ = self.messages.send(Message::Remove(plugin.clone()));
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
