//! Supervision: the worker handles the unexpected exit of a plugin's process, restarts the plugin, and saves
//! checkpoints.

use super::{Worker, cause::Cause};
use crate::{
    event::{CrashSite, EventKind, Stages},
    id::{Digest, Generation},
    job::{OnDeath, Source},
    lifecycle::{self, Exit, Input, VersionId},
    registry::{Retiring, body::LifecycleError},
    step::Step,
};
use replug_api::call::Death;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;

/// The unexpected exit of a generation's process.
pub(super) struct Died {
    generation: Generation,
    digest: Digest,
    death: Death,
    stderr_tail: String,
    /// The generation, if it served when its process ended.
    retiring: Option<Retiring>,
    /// Whether the generation has ever served.
    served: Arc<AtomicBool>,
}

impl Died {
    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.generation == generation
    }
}

/// The deaths that the worker has not received yet. They have a separate channel, because the worker also receives
/// deaths while it leaves commands in their channel: during the installation of a version.
pub(super) struct Deaths {
    receiver: mpsc::UnboundedReceiver<Died>,
    sender: mpsc::UnboundedSender<Died>,
}

impl Default for Deaths {
    fn default() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }
}

impl Deaths {
    /// Waits for the next death.
    pub(super) async fn next(&mut self) -> Died {
        self.receiver.recv().await.expect("`self.sender` is open")
    }

    /// Puts a death back, to be received later.
    pub(super) fn put_back(&self, died: Option<Died>) {
        // The receiver is in the same struct, so the channel is open.
        died.into_iter().for_each(|died| drop(self.sender.send(died)));
    }
}

impl Worker {
    /// The callback for an unexpected exit of a generation's process.
    pub(super) fn on_death(&self, served: &Arc<AtomicBool>) -> OnDeath {
        let (entry, manifest) = (self.shared.entry.clone(), self.shared.manifest.clone());
        let (deaths, served) = (self.deaths.sender.clone(), served.clone());
        Arc::new(move |(generation, digest)| {
            let (entry, manifest) = (entry.clone(), manifest.clone());
            let (deaths, served) = (deaths.clone(), served.clone());
            Box::new(move |death, stderr_tail| {
                let patience = manifest.lock().process.restart_wait;
                // The generation leaves the slot before its death is reported, so that no new call reaches the dead
                // process.
                let retiring = entry.suspend(generation, patience);
                // An error means that the host has ended.
                let _ = deaths.send(Died { generation, digest, death, stderr_tail, retiring, served });
            })
        })
    }

    /// Handles the deaths that are in the channel.
    pub(super) fn take_deaths(&mut self) {
        while let Ok(died) = self.deaths.receiver.try_recv() {
            self.died(died);
        }
    }

    /// Handles the unexpected exit of a generation's process.
    pub(super) fn died(&mut self, died: Died) {
        let Died { generation, digest, death, stderr_tail, retiring, served } = died;
        // A generation whose process ended before the swap may have been swapped in since.
        let patience = self.manifest().process.restart_wait;
        let retiring = retiring.or_else(|| self.shared.entry.suspend(generation, patience));
        let was_serving = retiring.is_some();
        if let Some(retiring) = retiring {
            self.retire(retiring);
        }
        let (signal, status) = match death {
            Death::Signal(name) => (Some(name), None),
            Death::Exit(status) => (None, Some(status)),
            Death::Disconnected => (None, None),
        };
        self.do_now(Input::Died(lifecycle::Death {
            version: VersionId { generation, digest },
            exit: Exit { signal, status, stderr_tail },
            was_serving,
            has_served: served.load(Ordering::Relaxed),
            // A successor may serve by now.
            is_replaced: self.shared.entry.live().is_some(),
            has_crashed: self.context.demotions.of(self.id(), digest).is_some(),
        }));
    }

    /// Reports that the process of a version has ended, and how soon it is restarted.
    pub(super) fn report_crash(&self, version: VersionId, exit: Exit, restart_in: Option<Duration>) {
        let Exit { signal, status: exit, stderr_tail } = exit;
        let restart_in_ms = restart_in.map(|pause| pause.as_millis().try_into().unwrap_or(u64::MAX));
        let of = (&self.shared.entry.id, version.generation, version.digest);
        let crashed = EventKind::PluginCrashed { signal, exit, stderr_tail, restart_in_ms };
        self.context.settings.events.generation(of, crashed);
    }

    /// Quarantines a version until a user starts the plugin.
    pub(super) fn quarantine(&mut self, digest: Digest, reason: String) {
        self.record.note(|record| record.quarantine(digest, reason.clone()));
        drop(self.shared.entry.close(&reason));
        self.shared.entry.set_reason(&reason);
        // The entry is closed before the record is saved, because the save takes time. A later close could hit a
        // generation that an installation on another thread has swapped in meanwhile.
        self.record.save();
        self.emit(EventKind::PluginQuarantined { crash: CrashSite::default(), reason });
    }

    /// Installs a stored artifact, for a restart or a rollback. Returns whether it serves.
    pub(super) async fn serve_again(&mut self, digest: Digest, cause: Cause) -> bool {
        let again = (Source::Stored(digest), self.manifest());
        // `install` reports a failure.
        self.install(again, cause, Stages::default()).await.is_ok()
    }

    /// Saves a checkpoint, so that a crash loses only later changes. If the save does not return in time, no
    /// more checkpoints of this generation are saved.
    pub(super) async fn checkpoint(&mut self) -> Input {
        let Some(live) = self.shared.entry.live().filter(|live| live.stateful()) else {
            return Input::CheckpointEnded { late: false };
        };
        let (id, checkpoints) = (self.id().clone(), self.context.checkpoints.clone());
        let (before, was_unwritten) = (self.saved.clone(), self.is_unwritten);
        let is_own = self.record.is_own();
        let saving = live.clone();
        let save = move || {
            let state = (saving.state_version(), saving.save()?);
            // An unchanged state is on disk already.
            let is_to_be_written = is_own && (was_unwritten || before.as_ref() != Some(&state));
            let written = if is_to_be_written { checkpoints.save(&id, (state.0, &state.1)) } else { Ok(()) };
            if let (Err(error), false) = (&written, was_unwritten) {
                tracing::warn!(
                    "{id}: its checkpoint cannot be written, and will not outlive the host: {error}"
                );
            }
            Ok::<_, LifecycleError>((state, written.is_err()))
        };
        let saved = self.bounded((live, Step::Save), save).await;
        let late = saved.is_err();
        match saved {
            Ok(Ok((state, is_unwritten))) => (self.saved, self.is_unwritten) = (Some(state), is_unwritten),
            Ok(Err(error)) => tracing::warn!("no checkpoint: {error}"),
            Err(error) => {
                tracing::warn!("{}: no more checkpoints of this generation: {error}", self.id());
            }
        }
        Input::CheckpointEnded { late }
    }
}
