//! Recovery after crashes: artifacts that run in a child process or not at all, and saved states.

use super::Worker;
use crate::{
    bring_up::Moved,
    demotion::{Demotion, Treatment},
    error::{ReloadCause, TrialError},
    event::{CrashSite, EventKind},
    id::Digest,
    lifecycle::{BeginsWith, Input, Placement},
    load::process::SavedBy,
    record::StateNote,
    step::Step,
};
use std::time::SystemTime;

/// Whether the version failed because it rejects the saved state.
pub(super) fn refuses_state(cause: &ReloadCause) -> bool {
    match cause {
        ReloadCause::Lifecycle(error) | ReloadCause::Trial(TrialError::Lifecycle(error)) => {
            error.step == Step::Restore
        }
        _ => false,
    }
}

impl Worker {
    /// The saved state with which an instance begins. A state that is not in memory is read from disk, unless a serving
    /// generation hands its state over.
    pub(super) fn state_for(&mut self, with: BeginsWith) -> Option<SavedBy> {
        let is_kept = match with {
            BeginsWith::Kept => true,
            BeginsWith::Checkpoint => false,
            BeginsWith::HandedOver | BeginsWith::Nothing => return None,
        };
        if self.shared.entry.live().is_none() && self.record.is_own() && self.saved.is_none() {
            match self.context.checkpoints.last(self.id()) {
                Ok(None) if is_kept => {
                    let file = self.context.checkpoints.path(self.id());
                    self.lose_state(&format!("{} is missing", file.display()));
                }
                Ok(left) => self.saved = left,
                Err(error) => self.lose_state(&error.to_string()),
            }
        }
        self.saved.clone()
    }

    /// Removes the state that was saved last, because it was handed over or is no longer needed.
    pub(super) fn forget_state(&mut self) {
        self.saved = None;
        if self.record.is_own() {
            self.context.checkpoints.remove(self.id());
        }
    }

    /// Records that a saved state cannot be read.
    fn lose_state(&mut self, why: &str) {
        self.lose_checkpoint(why);
        self.do_now(Input::StateLost);
    }

    /// Writes the state that was saved at a stop, for the next start.
    pub(super) fn keep_state(&mut self) {
        self.note_state();
        let (true, Some((version, state))) = (self.record.is_own(), &self.saved) else { return };
        if let Err(error) = self.context.checkpoints.save_durably(self.id(), (*version, state)) {
            let reason = format!("its state cannot be written: {error}; it is lost when the host ends");
            self.emit(EventKind::CheckpointLost { reason });
        }
    }

    /// Records that a saved state exists, and which version saved it.
    pub(super) fn note_state(&mut self) {
        let by = self.record.serving().map(|serving| serving.digest);
        let note = by.map(|by| StateNote { saved_at: SystemTime::now(), by });
        self.record.change(|record| record.set_state(note));
    }

    pub(super) fn discard_state(&mut self) {
        self.forget_state();
        self.record.change(|record| record.set_state(None));
    }

    /// Discards a state that cannot be used. Its file is renamed, and kept.
    pub(super) fn lose_checkpoint(&mut self, why: &str) {
        self.saved = None;
        self.record.change(|record| record.set_state(None));
        let aside = self.record.is_own().then(|| self.context.checkpoints.put_aside(self.id())).flatten();
        let aside =
            aside.map(|file| format!("; the state is kept in {}", file.display())).unwrap_or_default();
        self.emit(EventKind::CheckpointLost {
            reason: format!("{why}: the plugin begins without it{aside}"),
        });
    }

    /// Records why the serving generation does not run in the mode that its manifest requests. `None` if it runs in
    /// that mode.
    pub(super) fn note_place(&mut self, moved: Option<&Moved>) {
        self.shared.progress.lock().moved = moved.map(ToString::to_string);
        self.do_now(Input::Placed(match moved {
            None => Placement::AsRequested,
            Some(Moved::Crashed(_)) => Placement::AfterCrash,
            Some(_) => Placement::Moved,
        }));
    }

    /// Reports why the serving generation runs in a child process.
    pub(super) fn report_moved(&self) {
        let reason = self.shared.progress.lock().moved.clone().unwrap_or_default();
        self.emit(EventKind::PluginDemoted { crash: CrashSite::default(), reason });
    }

    /// If no generation serves, sets the reason that callers get: the artifact has crashed a host.
    pub(super) fn note_kept_out(&self, demotion: &Demotion) {
        if self.shared.entry.live().is_none() {
            self.shared.entry.set_reason(&demotion.to_string());
        }
    }

    /// Records that an artifact has crashed in a child process.
    pub(super) fn demote(&self, digest: Digest, signal: Option<String>) {
        let crash = CrashSite { signal, ..CrashSite::default() };
        self.context.demotions.add(self.id(), Demotion::now(digest, crash, Treatment::Process));
    }
}
