//! The worker: one task for each plugin, which carries out the plugin's commands one after another. Only the worker
//! reloads its plugin.
//!
//! Only a build can be interrupted: a newer save restarts it, and a command to stop cancels it. No save and no
//! command interrupts the installation after the build.

mod bounded;
mod building;
mod cause;
mod changed;
mod command;
mod configure;
mod crash_recovery;
mod go_back;
mod install;
mod mailbox;
mod manifest_edit;
mod observe;
mod progress;
mod remember;
mod serve;
mod shell;
mod sources;
mod stop;
mod supervise;

pub(crate) use crate::lifecycle::{Config, StopWhy};
use crate::{
    artifact::Held,
    context::Context,
    error::{HostError, ReloadCause, ReloadError},
    event::{EventKind, Stage},
    id::{Generation, PluginId},
    lifecycle::{FailureReport, Input, Lifecycle, Past, Reading, Work},
    load::process::SavedBy,
    manifest::{self, Manifest, ManifestError},
    record::{Kept, Wanted},
    registry::Entry,
    spare::Spares,
    watch::Watcher,
};
use cause::Cause;
pub(crate) use command::{Command, Reply, StartWhy};
pub use configure::Configured;
use install::Postponed;
use mailbox::Mailbox;
use parking_lot::Mutex;
pub(crate) use progress::Progress;
use sources::Sources;
use std::{ops::ControlFlow, sync::Arc, time::Instant};
use supervise::Deaths;
use tokio::sync::mpsc;

/// After this time, a plugin whose manifest is missing counts as removed, and an empty manifest counts as an edit.
pub(crate) use crate::watch::GRACE;

/// The parts of a worker that the rest of the host uses.
#[derive(Clone)]
pub(crate) struct WorkerHandle {
    pub(crate) entry: Arc<Entry>,
    pub(crate) manifest: Arc<Mutex<Arc<Manifest>>>,
    pub(crate) progress: Arc<Mutex<Progress>>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
}

/// The task that runs one plugin.
pub(crate) struct Worker {
    context: Arc<Context>,
    watcher: Option<Arc<Watcher>>,
    shared: WorkerHandle,
    mailbox: Mailbox,
    deaths: Deaths,
    /// The state of the plugin, and the decisions that follow from it.
    lifecycle: Lifecycle,
    last_generation: u64,
    /// The plugin's record, which outlives the host.
    record: Kept,
    /// The error of a build that failed while the manifest was missing. It is reported later, unless the plugin was
    /// removed: then the removal is reported instead.
    unclear: Option<ReloadError>,
    /// The failures whose reports were postponed, the oldest first.
    postponed: Vec<Postponed>,
    /// The artifact that served last.
    held: Option<Arc<Held>>,
    /// The state that was saved last, for an instance that starts while no generation serves.
    saved: Option<SavedBy>,
    /// Whether the last checkpoint could not be written to disk. Such a checkpoint is lost when the host ends.
    is_unwritten: bool,
    sources: Sources,
    /// The spare shims: child processes that were started during the build in progress, and wait for its artifact.
    spares: Spares,
}

impl Worker {
    /// Starts the worker of a plugin. If `with_host` is set, the plugin starts with its host, unless its manifest or
    /// its record forbids that, and `with_host` receives the result.
    pub(crate) fn spawn(
        context: &Arc<Context>,
        watcher: Option<Arc<Watcher>>,
        (manifest, unusable): (Manifest, Option<ManifestError>),
        with_host: Option<Reply<Generation>>,
    ) -> WorkerHandle {
        let (commands, inbox) = mpsc::unbounded_channel();
        let mut record = context.records.of(&manifest.id);
        record.note(|record| record.reads(&manifest));
        let past = Past { unusable: unusable.as_ref().map(ToString::to_string), ..shell::past(&record) };
        let manifest = Arc::new(manifest);
        let lifecycle = Lifecycle::new(manifest.clone(), past, (context.processes(), shell::any_number()));
        let mut progress = Progress::of(&record);
        progress.faults = lifecycle.faults().clone();
        progress.starts_with_host = with_host.is_some() && lifecycle.starts_with_host();
        progress.note_read(&manifest);
        let entry = Arc::new(Entry::new(manifest.id.clone(), why_at_rest(record.wanted())));
        let handle = WorkerHandle {
            entry,
            manifest: Arc::new(Mutex::new(manifest)),
            progress: Arc::new(Mutex::new(progress)),
            commands,
        };
        let worker = Self {
            context: context.clone(),
            watcher,
            shared: handle.clone(),
            mailbox: Mailbox::new(inbox),
            deaths: Deaths::default(),
            lifecycle,
            last_generation: record.generation(),
            record,
            unclear: None,
            postponed: Vec::new(),
            held: None,
            saved: None,
            is_unwritten: false,
            sources: Sources::default(),
            spares: Spares::default(),
        };
        tokio::spawn(worker.run(Command::Begin { with_host, unusable }));
        handle
    }

    /// Carries out a command. Breaks the worker's loop when the host has shut down.
    async fn carry_out(&mut self, command: Command) -> ControlFlow<()> {
        match command {
            Command::Begin { with_host, unusable } => {
                match with_host {
                    Some(reply) => self.start_with_host(reply).await,
                    None => self.watch_sources().await,
                }
                self.record.save();
                if unusable.is_some() {
                    self.take_edit().await;
                }
            }
            Command::Changed(change) => self.changed(change).await,
            Command::NewDefaults => self.read_and_build(Reading::Defaults).await,
            Command::Return(manifest) => {
                self.shared.progress.lock().note_read(&manifest);
                self.do_now(Input::Returned(manifest));
                self.watch_sources().await;
            }
            Command::Moved(manifest) => self.moved(&manifest).await,
            Command::Reload(reply) => {
                self.want();
                self.reread_unusable_manifest().await;
                let done = self.rebuild(Cause::command()).await;
                self.record.save();
                let _ = reply.send(done);
            }
            Command::Start(StartWhy::Asked, reply) => {
                let done = self.start().await;
                self.record.save();
                let _ = reply.send(done);
            }
            Command::Start(StartWhy::WithHost, reply) => self.start_with_host(reply).await,
            Command::Configure(config, reply) => {
                let done = self.configure_by_command(config).await;
                let _ = reply.send(done);
            }
            Command::Rollback(to, reply) => {
                let done = self.rollback(to).await.map(|(from, generation)| {
                    self.emit(EventKind::RolledBack { from, reason: "on request".into() });
                    generation
                });
                let _ = reply.send(done);
            }
            Command::Stop(why, reply) => {
                self.stop(why).await;
                if let (StopWhy::Removed | StopWhy::Renamed, Some(watcher)) = (why, &self.watcher) {
                    watcher.remove(self.id());
                }
                let _ = reply.send(Ok(()));
                if why == StopWhy::ShutDown {
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Carries out a command to start.
    async fn start(&mut self) -> Result<Generation, HostError> {
        self.want();
        self.reread_unusable_manifest().await;
        let quarantined = !self.record.quarantined().is_empty();
        let crashed = self.context.demotions.has_any(self.id());
        let live = self.shared.entry.live().map(|live| live.generation);
        let asked = Input::StartAsked { serves: live.is_some(), quarantined, crashed };
        match (self.step(asked), live) {
            (Some(Work::EndStart), Some(generation)) => Ok(generation),
            (Some(Work::BuildSource), _) => {
                let done = self.rebuild(Cause::command()).await;
                // If the build fails but another version serves, the start has succeeded.
                done.or_else(|error| self.shared.entry.live().map(|live| live.generation).ok_or(error))
            }
            _ => self.bring_up(&mut None).await,
        }
    }

    /// Records that a user wants the plugin to run, in this host and in later ones.
    fn want(&mut self) {
        self.do_now(Input::Wanted);
        self.shared.progress.lock().unregistered = false;
    }

    /// Records and reports that the serving version rejects its configuration, or that there is no version to roll back
    /// to.
    fn failed(&mut self, error: &ReloadError) {
        self.do_now(Input::Refused(error.to_string()));
        self.report_failed(error, None);
    }

    /// Reports an error. `gap_ms` is the time for which calls have waited, in milliseconds.
    fn report_failed(&self, error: &ReloadError, gap_ms: Option<f64>) {
        let FailureReport { is_of_configuration, explains_outage, names_file, names_line } =
            self.lifecycle.failure_report();
        if explains_outage {
            self.note_why_down(error);
        }
        let kept_generation = self.shared.entry.live().map(|live| live.generation);
        let file = names_file.then(|| self.manifest().file.clone());
        let key = error.cause.unfit_config_key().filter(|_| names_line);
        let at = file.as_ref().zip(key).and_then(|(file, key)| Some((file, manifest::line_of(file, &key)?)));
        let (stage, mut error) = (error.stage, error.cause.to_string());
        if let Some((file, line)) = at {
            error = format!("{}:{line}: {error}", file.display());
        }
        self.emit(match is_of_configuration {
            true => EventKind::ConfigureFailed { file, error, kept_generation },
            false => EventKind::ReloadFailed { stage, error, kept_generation, gap_ms },
        });
    }

    /// If no generation serves, sets the reason that callers get.
    fn note_why_down(&self, error: &ReloadError) {
        if self.shared.entry.live().is_none() {
            self.shared.entry.set_reason(&format!("{} failed: {}", error.stage.name(), error.cause));
        }
    }

    fn id(&self) -> &PluginId {
        &self.shared.entry.id
    }

    /// The manifest that is in force.
    fn manifest(&self) -> Arc<Manifest> {
        self.lifecycle.manifest().clone()
    }

    /// The manifest that was read last, whether it is in force or not. The next version is built and started with this
    /// manifest.
    fn latest_manifest(&self) -> Arc<Manifest> {
        self.lifecycle.latest_manifest().clone()
    }

    /// Whether the manifest is missing. Returns `false` without a watcher, because the host does not notice a removal
    /// then.
    fn is_missing(&self) -> bool {
        self.watcher.is_some() && !manifest::holds_manifest(&self.latest_manifest().root)
    }

    /// Publishes the current stage. `None` if no work is in progress.
    fn doing(&self, stage: Option<Stage>) {
        self.shared.progress.lock().doing = stage;
    }

    fn emit(&self, kind: EventKind) {
        self.context.settings.events.plugin(self.id(), kind);
    }

    /// The error of a request to a plugin that does not run.
    fn not_running(&self) -> HostError {
        HostError::WrongState { plugin: self.id().clone(), reason: "it does not run; `start` it".into() }
    }

    fn error(&self, stage: Stage, cause: ReloadCause) -> ReloadError {
        ReloadError { plugin: self.id().clone(), stage, cause: Arc::new(cause) }
    }
}

/// Why a plugin does not run before its first start in this host.
fn why_at_rest(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::AsManifest | Wanted::Running => "it has not been started; `start` it",
        Wanted::Stopped => StopWhy::Asked.reason(),
        Wanted::Unregistered => StopWhy::Unregistered.reason(),
    }
}

/// Waits until `time`. Never returns if `time` is `None`.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
