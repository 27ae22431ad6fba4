//! The state behind a [`super::Watcher`], owned by its thread: what is watched, and what was last reported.

use super::{
    Change, Inputs, Notice, WatchError, What,
    batch::Batch,
    content::{Content, is_ignored, is_ignored_below, saved_at},
};
use crate::{id::PluginId, manifest};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, SystemTime},
};
use tokio::sync::mpsc::UnboundedSender;

/// What the thread is told.
pub(super) enum Message {
    Event(notify::Result<notify::Event>, SystemTime),
    Set(PluginId, Inputs, mpsc::Sender<Result<(), WatchError>>),
    Remove(PluginId),
    Stop,
}

/// The time stamps of files come from a coarser clock than that of the program.
const CLOCK_GRAIN: Duration = Duration::from_millis(20);

pub(super) struct World {
    plugins_dir: PathBuf,
    notify: RecommendedWatcher,
    notices: UnboundedSender<Notice>,
    plugins: BTreeMap<PluginId, Inputs>,
    /// The plugins folder, its parent, and its sub-folders.
    anchors: BTreeSet<PathBuf>,
    /// Those of them that may not be read.
    closed: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
    /// What was last reported, or was there when the watching began.
    known: HashMap<PathBuf, Content>,
}

/// How a file that was not known before is taken.
#[derive(Clone, Copy)]
enum Unknown {
    /// As known from now on, unless it is newer than this.
    Baseline(Option<SystemTime>),
    /// As a change.
    New,
}

impl World {
    pub(super) fn new(
        plugins_dir: &Path,
        notify: RecommendedWatcher,
        notices: UnboundedSender<Notice>,
    ) -> Result<Self, WatchError> {
        let plugins_dir = std::path::absolute(plugins_dir)
            .map_err(|source| WatchError::Refused { path: plugins_dir.into(), source: source.into() })?;
        let mut world = Self {
            plugins_dir: resolve(&plugins_dir),
            notify,
            notices,
            plugins: BTreeMap::new(),
            anchors: BTreeSet::new(),
            closed: BTreeSet::new(),
            watched: BTreeSet::new(),
            known: HashMap::new(),
        };
        world.anchor(Unknown::Baseline(None), SystemTime::now())?;
        Ok(world)
    }

    /// Works until told to stop.
    pub(super) fn run(&mut self, messages: &mpsc::Receiver<Message>) {
        let mut next = messages.recv().ok();
        while let Some(message) = next.take() {
            match message {
                Message::Event(event, noticed) => {
                    // All that is there already is looked at once, in its present state: this waits for nothing.
                    let mut batch = Batch::default();
                    batch.add(event);
                    while next.is_none() {
                        match messages.try_recv() {
                            Ok(Message::Event(event, _)) => batch.add(event),
                            Ok(other) => next = Some(other),
                            Err(_) => break,
                        }
                    }
                    self.look(batch, noticed);
                }
                Message::Set(plugin, mut inputs, reply) => {
                    inputs.files =
                        inputs.files.iter().flat_map(|file| [resolve(file), canonical(file)]).collect();
                    inputs.dirs = inputs.dirs.iter().map(|dir| canonical(dir)).collect();
                    inputs.except = inputs.except.iter().map(|path| resolve(path)).collect();
                    let unknown = Unknown::Baseline(inputs.as_of);
                    self.plugins.insert(plugin.clone(), inputs);
                    let result = self.refresh(&plugin, unknown, SystemTime::now());
                    self.tidy();
                    // An error means that no one waits for the answer.
                    let _ = reply.send(result);
                }
                Message::Remove(plugin) => {
                    self.plugins.remove(&plugin);
                    self.tidy();
                }
                Message::Stop => return,
            }
            next = next.or_else(|| messages.recv().ok());
        }
    }

    fn look(&mut self, batch: Batch, noticed: SystemTime) {
        if let Some(reason) = batch.lost {
            self.tell(Notice::Lost(reason));
            self.forget(Path::new("/"));
            let result = self.anchor(Unknown::New, noticed);
            self.complain(result);
            for plugin in self.plugins.keys().cloned().collect::<Vec<_>>() {
                let result = self.refresh(&plugin, Unknown::New, noticed);
                self.complain(result);
            }
        }
        // A folder that went and came again within one batch needs a new watch.
        let (folders, _): (BTreeSet<_>, _) =
            batch.gone.iter().partition::<BTreeSet<_>, _>(|path| self.is_folder_we_knew(path));
        for folder in &folders {
            self.forget(folder);
        }
        for path in &batch.touched {
            if path.is_dir() || folders.contains(path) {
                self.look_at_folder(path, noticed);
            }
            if !path.is_dir() {
                self.check(path, Unknown::New, noticed);
            }
        }
    }

    /// Whether something that is gone was a folder, or a link to one below the plugins folder.
    fn is_folder_we_knew(&self, path: &Path) -> bool {
        self.watched.contains(path) || path.parent() == Some(self.plugins_dir.as_path())
    }

    /// Follows a folder that came or went.
    fn look_at_folder(&mut self, path: &Path, noticed: SystemTime) {
        if self.plugins_dir.starts_with(path) || path.parent() == Some(self.plugins_dir.as_path()) {
            let before = (self.anchors.clone(), self.closed.clone());
            let result = self.anchor(Unknown::New, noticed);
            self.complain(result);
            if (&before.0, &before.1) != (&self.anchors, &self.closed) || path == self.plugins_dir {
                self.tell(Notice::PluginsChanged);
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
            self.plugins.iter().filter(|it| concerns(it.1)).map(|it| it.0.clone()).collect();
        for plugin in concerned {
            let result = self.refresh(&plugin, Unknown::New, noticed);
            self.complain(result);
        }
        if !path.exists() {
            let lost: Vec<_> = self.known.keys().filter(|file| file.starts_with(path)).cloned().collect();
            for file in lost {
                self.check(&file, Unknown::New, noticed);
            }
        }
    }

    /// Watches the plugins folder, what holds it and what it holds.
    fn anchor(&mut self, unknown: Unknown, noticed: SystemTime) -> Result<(), WatchError> {
        self.closed.clear();
        self.anchors = self.plugins_dir.parent().map(Path::to_owned).into_iter().collect();
        if self.plugins_dir.is_dir() {
            self.anchors.insert(self.plugins_dir.clone());
        }
        let mut watched = Ok(());
        for dir in self.anchors.clone() {
            watched = watched.and(self.anchor_at(&dir));
        }
        let entries = fs::read_dir(&self.plugins_dir).into_iter().flatten().flatten();
        let folders = entries.filter(|entry| !is_ignored(&entry.file_name().to_string_lossy()));
        for folder in folders.map(|entry| canonical(&entry.path())).filter(|path| path.is_dir()) {
            watched = watched.and(self.anchor_at(&folder));
            self.anchors.insert(folder);
        }
        for dir in self.anchors.clone() {
            for name in manifest::FILE_NAMES {
                self.check(&dir.join(name), unknown, noticed);
            }
        }
        watched
    }

    /// Watches one of them. Of one that may not be read, discovery says so; what holds it tells when that has changed.
    fn anchor_at(&mut self, dir: &Path) -> Result<(), WatchError> {
        if !self.watch_if_open(dir)? {
            self.closed.insert(dir.to_owned());
        }
        Ok(())
    }

    /// Watches all folders of a plugin's inputs and looks at all their files.
    fn refresh(
        &mut self,
        plugin: &PluginId,
        unknown: Unknown,
        noticed: SystemTime,
    ) -> Result<(), WatchError> {
        let Some(inputs) = self.plugins.get(plugin) else { return Ok(()) };
        let (mut dirs, mut files) = (BTreeSet::new(), inputs.files.clone());
        dirs.extend(files.iter().filter_map(|file| file.parent()).map(Path::to_owned));
        let mut open: Vec<PathBuf> = inputs.dirs.iter().cloned().collect();
        let excepted = inputs.except.clone();
        // Watched before it is listed: what comes in between is then seen twice, not never.
        for dir in &dirs {
            self.watch(dir)?;
        }
        while let Some(dir) = open.pop() {
            self.watch_if_open(&dir)?;
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if is_ignored(&entry.file_name().to_string_lossy()) || excepted.contains(&path) {
                    continue;
                }
                // Links to folders are not followed: they may lead round in circles.
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => open.push(path),
                    Ok(_) if path.is_dir() => {}
                    _ => drop(files.insert(path)),
                }
            }
        }
        for file in files {
            self.check(&file, unknown, noticed);
        }
        Ok(())
    }

    /// Looks at one file, and reports it if it holds something else than what is known.
    fn check(&mut self, path: &Path, unknown: Unknown, noticed: SystemTime) {
        let owners: Vec<_> =
            self.plugins.iter().filter(|it| is_input(it.1, path)).map(|it| it.0.clone()).collect();
        let is_manifest = self.is_manifest(path);
        if owners.is_empty() && !is_manifest {
            return;
        }
        let content = Content::of(path);
        let before = self.known.get(path).copied();
        if before.unwrap_or(Content::Gone) == content {
            return;
        }
        self.known.insert(path.to_owned(), content);
        match (before, unknown) {
            (None, Unknown::Baseline(None)) => return,
            (None, Unknown::Baseline(Some(began))) => {
                let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
                if modified.is_ok_and(|modified| modified + CLOCK_GRAIN < began) {
                    return;
                }
            }
            _ => {}
        }
        if is_manifest && (owners.is_empty() || content == Content::Gone) {
            return self.tell(Notice::PluginsChanged);
        }
        let (saved_at, what) =
            (saved_at(path, noticed), if is_manifest { What::Manifest } else { What::Source });
        for plugin in owners {
            self.tell(Notice::Changed(Change { plugin, path: path.to_owned(), saved_at, what }));
        }
    }

    fn is_manifest(&self, path: &Path) -> bool {
        let named = path.file_name().is_some_and(|name| manifest::FILE_NAMES.iter().any(|it| name == *it));
        let Some(parent) = path.parent().filter(|_| named) else { return false };
        // The folder that holds the plugins folder is an anchor too, but no place of plugins.
        (self.anchors.contains(parent) && Some(parent) != self.plugins_dir.parent())
            || self.plugins.values().any(|inputs| inputs.files.contains(path))
    }

    fn watch(&mut self, dir: &Path) -> Result<(), WatchError> {
        if self.watched.contains(dir) {
            return Ok(());
        }
        match self.notify.watch(dir, RecursiveMode::NonRecursive) {
            Ok(()) => drop(self.watched.insert(dir.to_owned())),
            // It went meanwhile; when it comes again, the folder that holds it tells.
            Err(_) if !dir.exists() => {}
            Err(source) => return Err(WatchError::new(dir, source)),
        }
        Ok(())
    }

    /// Watches a folder unless it may not be read, and says whether it may.
    fn watch_if_open(&mut self, dir: &Path) -> Result<bool, WatchError> {
        match self.watch(dir) {
            Err(WatchError::Refused { .. }) if fs::read_dir(dir).is_err() => Ok(false),
            watched => watched.map(|()| true),
        }
    }

    /// Drops the watches of `dir` and of all below.
    fn forget(&mut self, dir: &Path) {
        let below: Vec<_> = self.watched.iter().filter(|it| it.starts_with(dir)).cloned().collect();
        for path in below {
            // An error means that the watch went with its folder.
            let _ = self.notify.unwatch(&path);
            self.watched.remove(&path);
        }
    }

    /// Drops what no plugin needs any more.
    fn tidy(&mut self) {
        let wanted = |dir: &PathBuf| {
            self.anchors.contains(dir)
                || self.plugins.values().any(|inputs| {
                    inputs.dirs.iter().any(|it| dir.starts_with(it))
                        || inputs.files.iter().any(|it| it.parent() == Some(dir))
                })
        };
        let unwanted: Vec<_> = self.watched.iter().filter(|dir| !wanted(dir)).cloned().collect();
        for dir in unwanted {
            let _ = self.notify.unwatch(&dir);
            self.watched.remove(&dir);
        }
        let mut known = std::mem::take(&mut self.known);
        let inputs = |path: &Path| self.plugins.values().any(|inputs| is_input(inputs, path));
        known.retain(|path, _| inputs(path) || path.parent().is_some_and(|it| self.anchors.contains(it)));
        self.known = known;
    }

    fn complain(&self, result: Result<(), WatchError>) {
        if let Err(error) = result {
            self.tell(Notice::Lost(error.to_string()));
        }
    }

    fn tell(&self, notice: Notice) {
        // An error means that no one listens any more.
        let _ = self.notices.send(notice);
    }
}

fn is_input(inputs: &Inputs, path: &Path) -> bool {
    let excepted = || inputs.except.iter().any(|it| path.starts_with(it));
    let below = |dir: &PathBuf| path.starts_with(dir) && path != dir && !is_ignored_below(dir, path);
    inputs.files.contains(path) || inputs.dirs.iter().any(below) && !excepted()
}

/// The path with all links resolved as far as it exists: a folder must have one name only, as inotify gives
/// one watch to it under whatever name.
fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| resolve(path))
}

/// Like [`canonical`], but the last part may be a link and need not exist.
fn resolve(path: &Path) -> PathBuf {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => match fs::canonicalize(parent) {
            Ok(parent) => parent.join(name),
            Err(_) => resolve(parent).join(name),
        },
        _ => path.to_owned(),
    }
}
