//! How the worker learns that a process has ended, and what it does to have its plugin serve again.

use super::{Worker, cause::Cause};
use crate::{
    event::{EventKind, Stages},
    id::{Digest, Generation},
    lifecycle::{self, Exit, Input, Version},
    load::LifecycleError,
    registry::Retiring,
    reload::{OnDeath, Source},
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

/// The deaths that are not received yet. They do not wait among the orders, each of which may take its time: whatever the
/// worker waits for, it receives deaths too.
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
    /// The next one; waits for it.
    pub(super) async fn next(&mut self) -> Died {
        self.receiver.recv().await.expect("a sender is beside it")
    }

    /// Takes one back that is to be received later.
    pub(super) fn put_back(&self, died: Option<Died>) {
        // The receiver is beside it.
        died.into_iter().for_each(|died| drop(self.sender.send(died)));
    }
}

impl Worker {
    /// What is called when the process of a generation ends unasked.
    pub(super) fn on_death(&self, served: &Arc<AtomicBool>) -> OnDeath {
        let (entry, manifest) = (self.shared.entry.clone(), self.shared.manifest.clone());
        let (deaths, served) = (self.deaths.sender.clone(), served.clone());
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
    pub(super) fn take_deaths(&mut self) {
        while let Ok(died) = self.deaths.receiver.try_recv() {
            self.died(died);
        }
    }

    /// The process of a generation has ended: of the one that served, or of one that was on its way out.
    pub(super) fn died(&mut self, died: Died) {
        let Died { generation, digest, death, stderr_tail, retiring, served } = died;
        // One that died before it served may serve by now; one that never will is no concern.
        let patience = self.manifest().process.restart_wait;
        let retiring = retiring.or_else(|| self.shared.entry.suspend(generation, patience));
        if retiring.is_none() && !served.load(Ordering::Relaxed) {
            return;
        }
        let did_serve = retiring.is_some();
        if let Some(retiring) = retiring {
            self.retire(retiring);
        }
        // By now its successor may serve.
        let leaves_gap = did_serve && self.shared.entry.live().is_none();
        let (signal, status) = match death {
            Death::Signal(name) => (Some(name), None),
            Death::Exit(status) => (None, Some(status)),
            Death::Disconnected => (None, None),
        };
        self.note_death(digest, signal.clone());
        self.do_now(Input::Died(lifecycle::Death {
            version: Version { generation, digest },
            exit: Exit { signal, status, stderr_tail },
            leaves_gap,
        }));
    }

    /// Reports that the process of a version has ended, and when it is restarted.
    pub(super) fn report_crash(&self, version: Version, exit: Exit, restart_in: Option<Duration>) {
        let Exit { signal, status: exit, stderr_tail } = exit;
        let restart_in_ms = restart_in.map(|pause| pause.as_millis().try_into().unwrap_or(u64::MAX));
        let of = (&self.shared.entry.id, version.generation, version.digest);
        let crashed = EventKind::PluginCrashed { signal, exit, stderr_tail, restart_in_ms };
        self.context.settings.events.generation(of, crashed);
    }

    /// Lets a version run no more until someone starts the plugin.
    pub(super) fn quarantine(&mut self, digest: Digest, reason: String) {
        self.record.note(|record| record.quarantine(digest, reason.clone()));
        drop(self.shared.entry.close(&reason));
        self.shared.entry.set_reason(&reason);
        // Not before: it takes its time, and meanwhile a successor may come up, which must not be taken out.
        self.record.save();
        self.emit(EventKind::PluginQuarantined { method: None, line: None, signal: None, reason });
    }

    /// Lets an artifact serve again, or in place of a later one. Says whether it does.
    pub(super) async fn serve_again(&mut self, digest: Digest, cause: Cause) -> bool {
        let again = (Source::Stored(digest), self.manifest());
        // If it does not, that was reported.
        self.install(again, cause, Stages::default()).await.is_ok()
    }

    /// Saves the state, so that a crash costs no more than what came since. Returns whether that is to continue.
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
