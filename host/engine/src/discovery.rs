//! Discovery: starts workers for the plugins in the plugins folder, and stops plugins that were removed.

mod emptied;
mod missing;
mod unsettled;
mod unusable;
mod worker_handles;

use crate::{
    context::Context,
    error::HostError,
    event::EventKind,
    id::{Generation, PluginId},
    manifest::{self, Discovery, Manifest, ManifestError},
    watch::{Change, Notice, Watcher, What},
    worker::{Command, StartWhy, StopWhy, Worker},
};
use emptied::Emptied;
use missing::Missing;
use parking_lot::Mutex;
use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};
use unsettled::Unsettled;
pub(crate) use unusable::{Unusable, restore};
pub(crate) use worker_handles::WorkerHandles;

/// A manifest that cannot be used.
struct Broken {
    /// The manifest's path as it was found, and the path with all links resolved.
    paths: [PathBuf; 2],
    /// The id in the manifest, if the problem is that another plugin has the same id.
    id: Option<PluginId>,
}

impl Broken {
    fn of(problem: &ManifestError) -> Self {
        let id = match problem {
            ManifestError::DuplicateId { id, .. } => Some(id.clone()),
            _ => None,
        };
        let path = problem.path();
        let resolved = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        Self { paths: [path.to_owned(), resolved], id }
    }
}

/// The task that applies changes of the plugins folder to the workers.
pub(crate) struct DiscoveryLoop {
    context: Arc<Context>,
    workers: Arc<Mutex<WorkerHandles>>,
    watcher: Option<Arc<Watcher>>,
    /// The texts of the problems that were reported and still exist.
    problems: Vec<String>,
    /// The plugins that start with their last accepted manifest, and why their current manifest cannot be used.
    unusable: Unusable,
    missing: Missing,
    emptied: Emptied,
    unsettled: Unsettled,
}

/// Events about crashes of earlier hosts, each with the plugin to which the crash is attributed, if any. They are
/// emitted when the plugins of this host have started.
pub(crate) type CrashEvents = Vec<(Option<PluginId>, EventKind)>;

pub(crate) type Answer<T> = oneshot::Receiver<Result<T, HostError>>;

impl DiscoveryLoop {
    pub(crate) fn new(context: Arc<Context>, watcher: Option<Arc<Watcher>>) -> Self {
        Self {
            context,
            workers: Arc::default(),
            watcher,
            problems: Vec::new(),
            unusable: Unusable::new(),
            missing: Missing::default(),
            emptied: Emptied::default(),
            unsettled: Unsettled::default(),
        }
    }

    /// The workers, which change as plugins are added and removed.
    pub(crate) fn workers(&self) -> Arc<Mutex<WorkerHandles>> {
        self.workers.clone()
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Notice>) {
        loop {
            let due = self.missing.due().into_iter().chain(self.unsettled.due()).min();
            let emptied_due = self.emptied.due();
            let notice = tokio::select! {
                notice = inbox.recv() => notice,
                () = sleep_until(emptied_due.unwrap_or_else(Instant::now)), if emptied_due.is_some() => {
                    self.emptied.take_due(Instant::now()).into_iter().for_each(|change| self.pass_on(change));
                    continue;
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Some(Notice::PluginsChanged),
            };
            match notice {
                None => return,
                Some(Notice::Changed(change)) => {
                    let Some(change) = self.emptied.sift(change, Instant::now()) else { continue };
                    self.pass_on(change);
                }
                Some(Notice::PluginsChanged) => self.rescan(),
                Some(Notice::Lost(reason)) => {
                    tracing::warn!("changes may have been missed ({reason}): checking everything again");
                    self.rescan();
                    self.rebuild_all();
                }
            }
        }
    }

    /// Sends a change to the worker of its plugin. Holds the change back if the manifest is missing.
    fn pass_on(&mut self, change: Change) {
        let Some(worker) = self.workers.lock().get(change.plugin.as_str()).cloned() else {
            // A removed plugin may have been added again.
            if change.what == What::Manifest {
                self.rescan();
            }
            return;
        };
        let root = worker.manifest.lock().root.clone();
        if !manifest::holds_manifest(&root) {
            self.missing.hold(change, Instant::now());
            return;
        }
        // The manifest may have a different id now, and then belongs to a different plugin.
        if manifest::read(&root).is_ok_and(|found| found.id != change.plugin) {
            if self.missing.hold(change, Instant::now()) {
                self.rescan();
            }
            return;
        }
        for change in self.missing.is_back(&change.plugin).into_iter().chain([change]) {
            let _ = worker.commands.send(Command::Changed(change));
        }
    }

    /// Requests a build of all plugins. Unchanged plugins are not reloaded.
    fn rebuild_all(&self) {
        for worker in self.workers.lock().all() {
            let id = &worker.entry.id;
            let path = worker.manifest.lock().root.clone();
            let change = Change {
                plugin: id.clone(),
                path,
                saved_at: SystemTime::now(),
                what: What::Source,
                before: None,
            };
            let _ = worker.commands.send(Command::Changed(change));
        }
    }

    /// Searches the plugins folder again, and applies the differences.
    fn rescan(&mut self) {
        let served = {
            let workers = self.workers.lock();
            workers
                .all()
                .map(|worker| (worker.entry.id.clone(), worker.manifest.lock().root.clone()))
                .collect()
        };
        let settings = &self.context.settings;
        match settings.now().defaults.discover_beside(&settings.plugins_dir, &served) {
            Ok(discovery) => {
                let problems: Vec<_> = discovery.problems.iter().map(named).collect();
                drop(self.update(discovery));
                self.report_settled(problems);
            }
            // The plugins folder is missing or unreadable. The running plugins continue to serve.
            Err(error) => {
                self.missing.forget();
                self.report(error.path().to_owned(), error.to_string());
            }
        }
    }

    /// Starts the plugins that exist when the host starts. The plugins in `unusable` use their last accepted manifest.
    pub(crate) fn begin(&mut self, discovery: Discovery, unusable: Unusable) -> Vec<Answer<Generation>> {
        let reported: Vec<_> = unusable.values().map(ToString::to_string).collect();
        self.unusable = unusable;
        let problems: Vec<_> = discovery.problems.iter().map(named).collect();
        for (path, error) in problems {
            self.report(path, error);
        }
        let answers = self.update(discovery);
        // The workers of the plugins in `unusable` report the problems of these plugins.
        self.problems.extend(reported);
        answers
    }

    /// Starts new plugins, and stops removed plugins. Returns the pending results of the starts.
    pub(crate) fn update(&mut self, discovery: Discovery) -> Vec<Answer<Generation>> {
        let broken: Vec<_> = discovery.problems.iter().map(Broken::of).collect();
        self.problems.retain(|known| discovery.problems.iter().any(|problem| problem.to_string() == *known));
        let workers = self.workers.clone();
        let mut workers = workers.lock();
        if workers.shut_down {
            self.missing.forget();
            return Vec::new();
        }
        self.remove_missing(&mut workers, &discovery.manifests, &broken);
        let new: Vec<_> = discovery
            .manifests
            .into_iter()
            .filter(|found| workers.get(found.id.as_str()).is_none())
            .collect();
        new.into_iter().filter_map(|manifest| self.add(&mut workers, manifest)).collect()
    }

    /// Stops the plugins that have been missing for [`GRACE`](crate::worker::GRACE), and updates moved plugins.
    fn remove_missing(&mut self, workers: &mut WorkerHandles, found: &[Manifest], broken: &[Broken]) {
        for worker in workers.all().cloned().collect::<Vec<_>>() {
            let id = &worker.entry.id;
            let root = worker.manifest.lock().root.clone();
            let now = found.iter().find(|manifest| manifest.id == *id);
            let says_another = |it: &Broken| it.id.as_ref().is_some_and(|other| other != id);
            let (anothers, own): (Vec<_>, Vec<_>) = broken
                .iter()
                .filter(|it| it.paths.iter().any(|path| path.starts_with(&root)))
                .partition(|it| says_another(it));
            let is_anothers = !anothers.is_empty()
                || found.iter().any(|manifest| manifest.root == root && manifest.id != *id);
            // A plugin whose manifest is unusable, for example during an edit, was not removed.
            let is_there = now.is_some_and(|now| now.root == root) || !own.is_empty();
            if is_there {
                // Until the plugin's inputs are watched, only discovery notices an edit of the manifest.
                let unread = now.filter(|now| !worker.progress.lock().is_latest(now)).map(edit_of);
                for change in self.missing.is_back(id).into_iter().chain(unread) {
                    let _ = worker.commands.send(Command::Changed(change));
                }
                continue;
            }
            // The plugin has moved. A manifest may still exist at the old path, if a link in that path has a
            // different target now.
            if let Some(moved) = now {
                self.missing.is_back(id);
                let _ = worker.commands.send(Command::Moved(Arc::new(moved.clone())));
                continue;
            }
            if !self.missing.is_gone(id, Instant::now()) {
                continue;
            }
            workers.remove(id);
            let why = if is_anothers { StopWhy::Renamed } else { StopWhy::Removed };
            let _ = worker.commands.send(Command::Stop(why, oneshot::channel().0));
        }
    }

    /// Adds a plugin that is new, or that was removed and was found again.
    fn add(&mut self, workers: &mut WorkerHandles, manifest: Manifest) -> Option<Answer<Generation>> {
        let id = manifest.id.clone();
        self.context.settings.events.plugin(&id, EventKind::PluginDiscovered { path: manifest.root.clone() });
        let (reply, answer) = oneshot::channel();
        let with_host = self.context.settings.auto_start.then_some(reply);
        let answer = with_host.is_some().then_some(answer);
        let worker = match workers.known(&id) {
            Some(worker) => {
                let _ = worker.commands.send(Command::Return(Arc::new(manifest)));
                if let Some(reply) = with_host {
                    let _ = worker.commands.send(Command::Start(StartWhy::WithHost, reply));
                }
                worker.clone()
            }
            None => {
                let unusable = self.unusable.remove(&id);
                Worker::spawn(&self.context, self.watcher.clone(), (manifest, unusable), with_host)
            }
        };
        workers.add(worker);
        answer
    }

    /// Reports the new problems that have lasted for [`GRACE`](crate::worker::GRACE).
    fn report_settled(&mut self, problems: Vec<(PathBuf, String)>) {
        let is_open =
            |(path, error): &(PathBuf, String)| !self.emptied.has(path) && !self.problems.contains(error);
        let open = problems.into_iter().filter(is_open);
        for (path, error) in self.unsettled.sift(open, Instant::now()) {
            self.report(path, error);
        }
    }

    /// Reports a problem, unless the same problem was reported before.
    fn report(&mut self, path: PathBuf, error: String) {
        if !self.problems.contains(&error) {
            self.problems.push(error.clone());
            self.context.settings.events.host(EventKind::DiscoveryFailed { path, error });
        }
    }
}

/// The change that reports an edit of this manifest.
fn edit_of(manifest: &Manifest) -> Change {
    Change {
        plugin: manifest.id.clone(),
        path: manifest.file.clone(),
        saved_at: SystemTime::now(),
        what: What::Manifest,
        before: None,
    }
}

/// The path of a problem, and its text.
fn named(problem: &ManifestError) -> (PathBuf, String) {
    (problem.path().to_owned(), problem.to_string())
}

/// Waits until each plugin that starts with the host has started or has failed to start. Then emits
/// [`EventKind::HostStarted`] and the events about earlier crashes.
pub(crate) async fn emit_when_up(
    context: Arc<Context>,
    workers: Arc<Mutex<WorkerHandles>>,
    (answers, crash_events): (Vec<Answer<Generation>>, CrashEvents),
) {
    for answer in answers {
        // The worker has reported the result.
        let _ = answer.await;
    }
    let running = {
        let mut workers = workers.lock();
        if workers.shut_down {
            return;
        }
        workers.up = true;
        workers.all().filter(|worker| worker.entry.live().is_some()).count()
    };
    let plugins_dir = context.settings.plugins_dir.clone();
    let events = &context.settings.events;
    events.host(EventKind::HostStarted { plugins_dir, running });
    for (plugin, kind) in crash_events {
        match plugin {
            Some(plugin) => events.plugin(&plugin, kind),
            None => events.host(kind),
        }
    }
}
