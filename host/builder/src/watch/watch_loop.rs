//! The state of a [`super::Watcher`], owned by its thread: the watched folders, and the last reported contents.

mod anchors;
mod owners;
mod scan;
mod watches;

use super::{
    CLOCK_GRAIN, Change, GRACE, Inputs, Notice, Poll, WatchError, What,
    batch::Batch,
    content::{Content, changed_at, is_ignored_below, saved_at},
    paths::{canonical, files_below, resolve},
};
use anchors::Anchors;
use notify::RecommendedWatcher;
use owners::Owners;
use replug_model::id::PluginId;
use scan::Scan;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Instant, SystemTime},
};
use tokio::sync::mpsc::UnboundedSender;

/// A message to the watcher's thread.
pub(super) enum Message {
    Event(notify::Result<notify::Event>, SystemTime),
    Set(PluginId, Inputs, mpsc::Sender<Result<(), WatchError>>),
    Remove(PluginId),
    Stop,
}

pub(super) struct WatchLoop {
    notify: RecommendedWatcher,
    notices: UnboundedSender<Notice>,
    owners: Owners,
    anchors: Anchors,
    watched: BTreeSet<PathBuf>,
    /// The last reported content of each file. For a file that was never reported, its content when it was first
    /// watched.
    known: HashMap<PathBuf, Content>,
    /// The missing or empty files that are not reported yet, each with the time of the first check that found it
    /// missing or empty.
    vanished: BTreeMap<PathBuf, Instant>,
    scan: Scan,
}

/// How to treat a file whose previous content is unknown.
#[derive(Clone, Copy)]
enum Unknown {
    /// The current content of the file counts as known, unless the file is newer than this time.
    Baseline(Option<SystemTime>),
    /// The current content of the file counts as a change.
    New,
}

impl WatchLoop {
    pub(super) fn new(
        plugins_dir: &Path,
        (notify, poll): (RecommendedWatcher, Poll),
        notices: UnboundedSender<Notice>,
    ) -> Result<Self, WatchError> {
        let plugins_dir = std::path::absolute(plugins_dir)
            .map_err(|source| WatchError::Refused { path: plugins_dir.into(), source: source.into() })?;
        let mut watch_loop = Self {
            notify,
            notices,
            owners: Owners::default(),
            anchors: Anchors::of(plugins_dir),
            watched: BTreeSet::new(),
            known: HashMap::new(),
            vanished: BTreeMap::new(),
            scan: Scan::new(poll),
        };
        watch_loop.anchor(Unknown::Baseline(None), SystemTime::now())?;
        Ok(watch_loop)
    }

    /// Processes messages until [`Message::Stop`].
    pub(super) fn run(&mut self, messages: &mpsc::Receiver<Message>) {
        let mut next = self.next_message(messages);
        while let Some(message) = next.take() {
            match message {
                Message::Event(event, noticed) => {
                    // All queued events are processed together, with the current state of the files.
                    let mut batch = Batch::default();
                    batch.add(event);
                    while next.is_none() {
                        match messages.try_recv() {
                            Ok(Message::Event(event, _)) => batch.add(event),
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.process(batch, noticed);
                }
                Message::Set(plugin, mut inputs, reply) => {
                    inputs.files =
                        inputs.files.iter().flat_map(|file| [resolve(file), canonical(file)]).collect();
                    inputs.dirs = inputs.dirs.iter().map(|dir| canonical(dir)).collect();
                    inputs.except = inputs.except.iter().map(|path| resolve(path)).collect();
                    let unknown = Unknown::Baseline(inputs.as_of);
                    let had_others = self.owners.set(&plugin, inputs);
                    let result = self.refresh(&plugin, unknown, SystemTime::now());
                    if had_others {
                        self.tidy();
                    }
                    // An error means that nothing waits for the answer.
                    let _ = reply.send(result);
                }
                Message::Remove(plugin) => {
                    self.owners.remove(&plugin);
                    self.tidy();
                }
                Message::Stop => return,
            }
            next = next.or_else(|| self.next_message(messages));
        }
    }

    /// Waits for the next message. Meanwhile, reports vanished files after [`GRACE`], and polls at the polling
    /// interval. Returns `None` if all senders were dropped.
    fn next_message(&mut self, messages: &mpsc::Receiver<Message>) -> Option<Message> {
        loop {
            let vanished = self.vanished.values().min().map(|since| *since + GRACE);
            let due = vanished.into_iter().chain(self.scan.due()).min();
            let received = match due {
                None => return messages.recv().ok(),
                Some(due) => messages.recv_timeout(due.saturating_duration_since(Instant::now())),
            };
            match received {
                Ok(message) => return Some(message),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            self.report_vanished();
            if self.scan.due().is_some_and(|due| due <= Instant::now()) {
                self.scan_all();
            }
        }
    }

    /// Reports the files that have been missing or empty for at least [`GRACE`].
    fn report_vanished(&mut self) {
        let now = Instant::now();
        let due = |since: &Instant| *since + GRACE <= now;
        let due: Vec<_> = self.vanished.iter().filter(|it| due(it.1)).map(|it| it.0.clone()).collect();
        for path in due {
            self.check(&path, Unknown::New, SystemTime::now());
            self.vanished.remove(&path);
        }
    }

    fn process(&mut self, batch: Batch, noticed: SystemTime) {
        if let Some(reason) = batch.lost {
            self.send(Notice::Lost(reason));
            self.forget(Path::new("/"));
            self.check_everything(noticed);
        }
        if batch.touched.iter().any(|path| self.anchors.leads_through(path)) {
            self.find_plugins(noticed);
        }
        // A folder that was removed and created again within one batch needs a new watch.
        let (folders, _): (BTreeSet<_>, _) =
            batch.gone.iter().partition::<BTreeSet<_>, _>(|path| self.is_known_folder(path));
        for folder in &folders {
            self.forget(folder);
        }
        for path in &batch.touched {
            if path.is_dir() || folders.contains(path) {
                self.check_folder(path, noticed);
            }
            if !path.is_dir() || path.is_symlink() {
                self.check(path, Unknown::New, noticed);
            }
        }
    }

    /// Lists the plugins folder again. If the list has changed, sends [`Notice::PluginsChanged`] and returns `true`.
    fn find_plugins(&mut self, noticed: SystemTime) -> bool {
        let before = self.anchors.clone();
        let result = self.anchor(Unknown::New, noticed);
        self.report_error(result);
        let changed = before != self.anchors;
        if changed {
            self.send(Notice::PluginsChanged);
        }
        changed
    }

    /// Checks all watched folders and files, whether an event has named them or not.
    fn check_everything(&mut self, noticed: SystemTime) {
        self.find_plugins(noticed);
        for plugin in self.owners.iter().map(|it| it.0.clone()).collect::<Vec<_>>() {
            let result = self.refresh(&plugin, Unknown::New, noticed);
            self.report_error(result);
        }
    }

    /// Whether a removed path was a watched folder, or an entry of the plugins folder.
    fn is_known_folder(&self, path: &Path) -> bool {
        self.watched.contains(path) || self.anchors.is_place_of_a_plugin(path)
    }

    /// Handles a folder that appeared or disappeared.
    fn check_folder(&mut self, path: &Path, noticed: SystemTime) {
        if self.anchors.plugins_dir.starts_with(path) || self.anchors.is_place_of_a_plugin(path) {
            let is_reported = self.find_plugins(noticed);
            if !is_reported && path == self.anchors.plugins_dir {
                self.send(Notice::PluginsChanged);
            }
        }
        let concerns = |inputs: &Inputs| {
            inputs
                .dirs
                .iter()
                .any(|dir| dir.starts_with(path) || path.starts_with(dir) && !is_ignored_below(dir, path))
                || inputs.files.iter().any(|file| file.starts_with(path) && file != path)
        };
        let concerned: Vec<_> =
            self.owners.iter().filter(|it| concerns(it.1)).map(|it| it.0.clone()).collect();
        for plugin in concerned {
            let result = self.refresh(&plugin, Unknown::New, noticed);
            self.report_error(result);
        }
        if !path.exists() {
            let lost: Vec<_> = self.known.keys().filter(|file| file.starts_with(path)).cloned().collect();
            for file in lost {
                self.check(&file, Unknown::New, noticed);
            }
        }
    }

    /// Watches all folders of a plugin's inputs and reads all their files.
    fn refresh(
        &mut self,
        plugin: &PluginId,
        unknown: Unknown,
        noticed: SystemTime,
    ) -> Result<(), WatchError> {
        let Some(inputs) = self.owners.inputs_of(plugin) else { return Ok(()) };
        let (mut dirs, mut files) = (BTreeSet::new(), inputs.files.clone());
        dirs.extend(files.iter().filter_map(|file| file.parent()).map(Path::to_owned));
        let inputs = inputs.clone();
        for dir in dirs.iter().chain(&inputs.dirs) {
            self.watch_toward(dir)?;
        }
        // A folder is watched before it is listed. So a change in between may be found twice, but is never missed.
        files.extend(files_below(&inputs, |dir| self.watch_if_open(dir).map(drop))?);
        for file in files {
            self.check(&file, unknown, noticed);
        }
        Ok(())
    }

    /// Checks one file, and reports it if its content has changed.
    fn check(&mut self, path: &Path, unknown: Unknown, noticed: SystemTime) {
        let owners = self.owners.of(path);
        let is_manifest = self.is_manifest(path);
        if owners.is_empty() && !is_manifest {
            return;
        }
        if self.scan.is_as_it_was(path) {
            return;
        }
        let read_at = Instant::now();
        let content = Content::of(path);
        let before = self.known.get(path).copied();
        if before.unwrap_or(Content::Gone) == content {
            self.vanished.remove(path);
            return;
        }
        let is_baseline = match (before, unknown) {
            (None, Unknown::Baseline(None)) => true,
            (None, Unknown::Baseline(Some(began))) => {
                changed_at(path).is_some_and(|changed| changed + CLOCK_GRAIN < began)
            }
            _ => false,
        };
        // A manifest is reported immediately. If it was deleted, the host decides whether the plugin was removed.
        if !is_baseline && !is_manifest && matches!(content, Content::Gone | Content::Empty) {
            // The first time is taken after the file was read, and this one before. So if the file is reported, it was
            // missing or empty at two reads with at least `GRACE` between them, even if this thread was delayed.
            let since = *self.vanished.entry(path.to_owned()).or_insert_with(Instant::now);
            if since + GRACE > read_at {
                return;
            }
        }
        self.vanished.remove(path);
        self.known.insert(path.to_owned(), content);
        if is_baseline {
            return;
        }
        if is_manifest && (owners.is_empty() || content == Content::Gone) {
            return self.send(Notice::PluginsChanged);
        }
        let (saved_at, what) =
            (saved_at(path, noticed), if is_manifest { What::Manifest } else { What::Source });
        for plugin in owners {
            let change = Change { plugin, path: path.to_owned(), saved_at, what, before };
            self.send(Notice::Changed(change));
        }
    }

    fn report_error(&self, result: Result<(), WatchError>) {
        if let Err(error) = result {
            self.send(Notice::Lost(error.to_string()));
        }
    }

    fn send(&self, notice: Notice) {
        // An error means that nothing receives the notices any more.
        let _ = self.notices.send(notice);
    }
}
