//! What changed: files whose content differs from what was last reported, and plugins that come and go.
//!
//! There is no quiet window to wait out: the first event that shows new content is reported at once, and a
//! further write is reported again. A content hash per file decides, so that neither the way an editor saves
//! nor a touched clock makes a change. Folders are watched, never files: editors replace files by renaming.
//!
//! One thread owns all state. It learns of events and of new inputs through one channel, which orders them.

mod batch;
mod content;
mod file;
mod paths;
mod poll;
mod settle;
#[cfg(test)]
mod tests;
mod world;

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
use world::{Message, World};

/// How long a file has to be missing or empty until that is believed: editors delete a file, or empty it, and write it
/// again, and a branch switch removes each file before it writes the other version.
pub const GRACE: Duration = Duration::from_millis(300);

/// The time stamps of files come from a coarser clock than that of the program.
pub const CLOCK_GRAIN: Duration = Duration::from_millis(20);

/// The files from which a plugin is made. All paths are absolute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    /// Single files, and links to folders; neither they nor the folders that hold them need to exist.
    pub files: BTreeSet<PathBuf>,
    /// Folders of which every file counts, new ones too, but hidden and backup files and `target`.
    pub dirs: BTreeSet<PathBuf>,
    /// Files and folders below `dirs` that do not count, such as what a build script writes.
    pub except: BTreeSet<PathBuf>,
    /// The moment at which the build that found these inputs began. A file that was not an input before
    /// and is newer is reported at once: the build may have read what stood in it before.
    pub as_of: Option<SystemTime>,
}

/// A file of a plugin has new content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The plugin; a file that several plugins are made from gives a change for each.
    pub plugin: PluginId,
    /// The file.
    pub path: PathBuf,
    /// When it was saved: the file's own time if that is within the last 10 seconds, else when it was noticed.
    pub saved_at: SystemTime,
    /// What kind of file it is.
    pub what: What,
    /// What the file held before, if that is known.
    pub before: Option<Content>,
}

/// What a change is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Something that the artifact is built from.
    Source,
    /// The plugin's manifest.
    Manifest,
}

/// What a [`Watcher`] reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A file of a plugin has new content, or is gone.
    Changed(Change),
    /// A folder below the plugins folder came or went, or a manifest that no plugin owns yet changed, or a manifest
    /// is gone, or the plugins folder itself came or went: discover again.
    PluginsChanged,
    /// Events were lost, and why: discover again, and build what may have changed.
    Lost(String),
}

/// Why something cannot be watched.
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
    /// The system's limit of watching programs is reached.
    #[error(
        "{}: cannot be watched: the limit fs.inotify.max_user_instances (or of open files) is reached; raise it: sudo sysctl fs.inotify.max_user_instances=512",
        path.display()
    )]
    TooManyInstances { path: PathBuf },
    /// Anything else, such as a folder that may not be read.
    #[error("{}: cannot be watched: {source}; check that this user may read it", path.display())]
    Refused { path: PathBuf, source: notify::Error },
    /// The thread that watches could not be started, or is gone.
    #[error("cannot watch: no thread for it: {source}; restart the host")]
    NoThread { source: io::Error },
}

replug_model::readable::readable!(WatchError);

impl WatchError {
    fn new(path: &Path, mut source: notify::Error) -> Self {
        let path = path.to_owned();
        // Or it would name the path once more.
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

/// Watches a plugins folder and what its plugins are made from. Dropping it ends the watching.
#[derive(Debug)]
pub struct Watcher {
    messages: mpsc::Sender<Message>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Watcher {
    /// Watches `plugins_dir` and reports to `notices`; `poll` says when files are looked at without an event.
    ///
    /// The folder need not be there: it is noticed when it comes, as long as the folder that holds it stays. Links on
    /// the way to it may come to lead elsewhere.
    ///
    /// # Errors
    ///
    /// * [`WatchError::TooManyInstances`], [`WatchError::TooManyWatches`]: a limit of the system's is reached.
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
        let mut world = World::new(plugins_dir, (notify, poll), notices)?;
        let thread = thread::Builder::new()
            .name("replug-watch".into())
            .spawn(move || world.run(&received))
            .map_err(|source| WatchError::NoThread { source })?;
        Ok(Self { messages, thread: Some(thread) })
    }

    /// Watches the files that `plugin` is made from, in place of those before.
    ///
    /// When this returns, every later change will be reported. What the files hold now counts as known, but for
    /// [`Inputs::as_of`]. Blocks for as long as it takes to read the files that are new: milliseconds.
    ///
    /// # Errors
    ///
    /// * [`WatchError::TooManyWatches`]: the limit is reached; the folders that are watched already stay so.
    /// * [`WatchError::Refused`]: a folder may not be watched.
    /// * [`WatchError::NoThread`]: the watching has ended.
    pub fn set_inputs(&self, plugin: &PluginId, inputs: Inputs) -> Result<(), WatchError> {
        let (reply, answer) = mpsc::channel();
        let ended = || WatchError::NoThread { source: io::ErrorKind::BrokenPipe.into() };
        self.messages.send(Message::Set(plugin.clone(), inputs, reply)).map_err(|_| ended())?;
        answer.recv().map_err(|_| ended())?
    }

    /// No longer watches what `plugin` is made from.
    pub fn remove(&self, plugin: &PluginId) {
        // An error means that the watching has ended.
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
