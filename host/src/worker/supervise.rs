//! Keeping a plugin in a process of its own alive: it is started again when its process ends unasked, with growing
//! pauses, and left alone when that happens too often.

use super::{
    Worker,
    serve::Cause,
    setbacks::{Setback, Setbacks, pause},
};
use crate::{
    event::{EventKind, Stages},
    id::{Digest, Generation},
    load::{LifecycleError, process::SavedBy},
    registry::Retiring,
    reload::{OnDeath, Source},
};
use replug_api::call::Death;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// What the worker remembers of how its plugin's process fared.
#[derive(Default)]
pub(super) struct Supervision {
    setbacks: Setbacks,
    restart: Option<Restart>,
    /// What served last, and serves still unless it has died. None once the plugin is stopped.
    last: Option<(Generation, Digest)>,
    /// The state that was saved last, to begin anew with.
    checkpoint: Option<SavedBy>,
    /// Whether it could not be written, so that it would not outlive the host.
    is_unwritten: bool,
    next_checkpoint: Option<Instant>,
}

/// The process of a generation has ended unasked.
pub(super) struct Died {
    generation: Generation,
    digest: Digest,
    death: Death,
    stderr_tail: String,
    /// The generation, if it was the one that served.
    retiring: Option<Retiring>,
    /// Whether it ever has.
    served: Arc<AtomicBool>,
}

impl Died {
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation
    }
}

/// The deaths that are yet to be heard of. They do not wait among the orders, each of which may take its time: whatever the
/// worker waits for, it listens here too.
pub(super) struct Deaths {
    heard: mpsc::UnboundedReceiver<Died>,
    told: mpsc::UnboundedSender<Died>,
}

impl Default for Deaths {
    fn default() -> Self {
        let (told, heard) = mpsc::unbounded_channel();
        Self { heard, told }
    }
}

impl Deaths {
    /// The next one; waits for it.
    pub(super) async fn next(&mut self) -> Died {
        self.heard.recv().await.expect("a sender is beside it")
    }

    /// Takes one back that is to be heard of later.
    pub(super) fn put_back(&self, died: Option<Died>) {
        // The receiver is beside it.
        died.into_iter().for_each(|died| drop(self.told.send(died)));
    }
}

/// A process that is to be started again.
#[derive(Clone, Copy)]
struct Restart {
    due: Instant,
    digest: Digest,
    /// What died in its confirm window, if that is an earlier artifact.
    instead_of: Option<(Generation, Digest)>,
}

impl Supervision {
    /// When something is due next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.restart.map(|restart| restart.due).into_iter().chain(self.next_checkpoint).min()
    }

    /// A generation of that artifact serves: whatever was to be started again has come up, or its successor.
    pub(super) fn serves(&mut self, last: (Generation, Digest)) {
        self.restart = None;
        self.setbacks.keep_those_of(last.1);
        self.last = Some(last);
    }

    /// What served last, if the plugin was not stopped since.
    pub(super) fn last(&self) -> Option<(Generation, Digest)> {
        self.last
    }

    /// The plugin is stopped: there is nothing to be kept alive.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// It is to be started where it does not run: its deaths no longer count. Its state is kept.
    pub(super) fn pardon(&mut self) {
        self.setbacks = Setbacks::default();
    }

    /// The state to begin with where no generation serves.
    pub(super) fn state(&self) -> Option<SavedBy> {
        self.checkpoint.clone()
    }

    /// Takes another state to begin with, or none.
    pub(super) fn set_state(&mut self, state: Option<SavedBy>) {
        (self.checkpoint, self.is_unwritten) = (state, false);
    }
}

impl Worker {
    /// What is called when the process of a generation ends unasked.
    pub(super) fn on_death(&self, served: &Arc<AtomicBool>) -> OnDeath {
        let (entry, manifest) = (self.desk.entry.clone(), self.desk.manifest.clone());
        let (deaths, served) = (self.deaths.told.clone(), served.clone());
        Arc::new(move |(generation, digest)| {
            let (entry, manifest) = (entry.clone(), manifest.clone());
            let (deaths, served) = (deaths.clone(), served.clone());
            Box::new(move |death, stderr_tail| {
                let patience = manifest.lock().process.restart_wait;
                // At once, so that no later call reaches what is dead.
                let retiring = entry.suspend(generation, patience);
                // No one listens when the host is gone.
                let _ = deaths.send(Died { generation, digest, death, stderr_tail, retiring, served });
            })
        })
    }

    /// Attends to the deaths that are known by now.
    pub(super) fn hear_of_deaths(&mut self) {
        while let Ok(died) = self.deaths.heard.try_recv() {
            self.died(died);
        }
    }

    /// The process of a generation has ended: of the one that served, or of one that was on its way out.
    pub(super) fn died(&mut self, died: Died) {
        let Died { generation, digest, death, stderr_tail, retiring, served } = died;
        // One that died before it served may serve by now; one that never will is no concern.
        let patience = self.manifest().process.restart_wait;
        let retiring = retiring.or_else(|| self.desk.entry.suspend(generation, patience));
        if retiring.is_none() && !served.load(Ordering::Relaxed) {
            return;
        }
        let did_serve = retiring.is_some();
        if let Some(retiring) = retiring {
            self.retire(retiring);
        }
        // By now its successor may serve, or the plugin may not be wanted any more.
        let is_missed = did_serve && self.wanted && self.desk.entry.live().is_none();
        let watched = self.confirm.take_if(|confirm| confirm.is_of(generation));
        let earlier = watched.filter(|_| is_missed).and_then(|_| self.earlier_than(digest));
        let again = match earlier {
            Some(_) => Some(Duration::ZERO),
            None if is_missed => self.again_after((digest, Setback::Ended)),
            None => None,
        };
        let (signal, exit) = match &death {
            Death::Signal(name) => (Some(name.clone()), None),
            Death::Exit(status) => (None, Some(*status)),
            Death::Disconnected => (None, None),
        };
        self.note_death(digest, signal.clone());
        // Before it is told, so that whoever hears of it finds it so.
        match (earlier, again) {
            (Some(earlier), _) => {
                let instead_of = Some((generation, digest));
                self.supervision.restart = Some(Restart { due: Instant::now(), digest: earlier, instead_of });
            }
            (None, Some(pause)) => self.restart_after(digest, pause),
            (None, None) => {}
        }
        let restart_in_ms = again.map(|pause| pause.as_millis().try_into().unwrap_or(u64::MAX));
        let events = &self.shop.settings.events;
        let of = (&self.desk.entry.id, generation, digest);
        events.generation(of, EventKind::PluginCrashed { signal, exit, stderr_tail, restart_in_ms });
        if is_missed {
            self.supervision.next_checkpoint = None;
            if again.is_none() {
                self.quarantine(digest);
            }
        }
    }

    /// Counts a setback, and says after what pause the process is to be started again, if it is.
    fn again_after(&mut self, of: (Digest, Setback)) -> Option<Duration> {
        let manifest = self.manifest();
        let spec = &manifest.process;
        let count = self.supervision.setbacks.add(of, Instant::now(), spec.death_window);
        ((count as u64) < spec.max_deaths).then(|| pause(spec.restart_pause, count))
    }

    fn restart_after(&mut self, digest: Digest, pause: Duration) {
        let restart = Restart { due: Instant::now() + pause, digest, instead_of: None };
        self.desk.entry.restart_due(restart.due.into_std());
        self.supervision.restart = Some(restart);
    }

    fn quarantine(&mut self, digest: Digest) {
        let (setbacks, window) = (&self.supervision.setbacks, self.manifest().process.death_window);
        let window = humantime::format_duration(window);
        let reason = format!(
            "its process {setbacks} within {window}: it is quarantined until its artifact is another, or until you \
             `start` it"
        );
        self.record.note(|record| record.quarantine(digest, reason.clone()));
        {
            let mut progress = self.desk.progress.lock();
            progress.last_error = Some(reason.clone());
            // An earlier version that serves instead puts nothing right.
            if progress.source_error.is_none() {
                progress.blame_source();
            }
        }
        drop(self.desk.entry.close(&reason));
        self.desk.entry.set_reason(&reason);
        // Not before: it takes its time, and meanwhile a successor may come up, which must not be taken out.
        self.record.save();
        self.tell(EventKind::PluginQuarantined { method: None, line: None, signal: None, reason });
    }

    /// Does what is due: a restart, or a checkpoint.
    pub(super) async fn supervise(&mut self) {
        let now = Instant::now();
        if let Some(restart) = self.supervision.restart.filter(|restart| restart.due <= now) {
            self.supervision.restart = None;
            self.restart(restart).await;
        } else if self.supervision.next_checkpoint.is_some_and(|due| due <= now) {
            self.checkpoint().await;
        }
    }

    async fn restart(&mut self, Restart { digest, instead_of, .. }: Restart) {
        // The one that led here may be past by now.
        let deaths = self.supervision.setbacks.count(Setback::Ended).max(1);
        let again = (Source::Stored(digest), self.manifest());
        let cause = if instead_of.is_some() { Cause::order() } else { Cause::resume() };
        let installed = self.install(again, cause, Stages::default()).await;
        match installed {
            Ok(_) => {
                self.desk.progress.lock().restarts += 1;
                match instead_of {
                    None => self.tell(EventKind::PluginRestarted { deaths }),
                    Some((from, _)) => self.taken_back(from, "its process ended while `confirm` watched it"),
                }
            }
            // It has said why.
            Err(_) => {
                // If there is no way back, what died is as good as ever.
                let digest = instead_of.map_or(digest, |(_, died)| died);
                match self.again_after((digest, Setback::FailedToStart)) {
                    Some(pause) => self.restart_after(digest, pause),
                    None => self.quarantine(digest),
                }
            }
        }
    }

    /// Saves the state so often from now on. If it is not to be saved, what was is no longer the plugin's state.
    pub(super) fn keep_checkpoints(&mut self, every: Option<Duration>) {
        let Some(live) = self.desk.entry.live() else {
            self.supervision.next_checkpoint = None;
            return;
        };
        self.supervision.next_checkpoint = every.map(|every| Instant::now() + every);
        if every.is_none() || !live.instance.stateful() {
            self.forget_state();
        }
    }

    /// Saves the state, so that a crash costs no more than what came since.
    async fn checkpoint(&mut self) {
        let Some(every) = self.manifest().reload.checkpoint else { return };
        self.supervision.next_checkpoint = Some(Instant::now() + every);
        let Some(live) = self.desk.entry.live().filter(|live| live.instance.stateful()) else { return };
        let (id, checkpoints) = (self.id().clone(), self.shop.checkpoints.clone());
        let (before, was_unwritten) = (self.supervision.state(), self.supervision.is_unwritten);
        let is_own = self.record.is_own();
        let saving = live.clone();
        let save = move || {
            let state = (saving.instance.state_version(), saving.save()?);
            // What has not changed is on disk already.
            let is_to_be_written = is_own && (was_unwritten || before.as_ref() != Some(&state));
            let written = if is_to_be_written { checkpoints.keep(&id, (state.0, &state.1)) } else { Ok(()) };
            if let (Err(error), false) = (&written, was_unwritten) {
                tracing::warn!(
                    "{id}: its checkpoint cannot be written, and will not outlive the host: {error}"
                );
            }
            Ok::<_, LifecycleError>((state, written.is_err()))
        };
        match self.bounded((live, "save"), save).await {
            Ok(Ok((state, is_unwritten))) => {
                (self.supervision.checkpoint, self.supervision.is_unwritten) = (Some(state), is_unwritten);
            }
            Ok(Err(error)) => tracing::warn!("no checkpoint: {error}"),
            Err(error) => {
                // Another save would only wait with it.
                self.supervision.next_checkpoint = None;
                tracing::warn!("{}: no more checkpoints of this generation: {error}", self.id());
            }
        }
    }
}
