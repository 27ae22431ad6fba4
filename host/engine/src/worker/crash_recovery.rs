//! What is left of crashes: artifacts that run elsewhere or not at all, and states to begin with.

use super::Worker;
use crate::{
    bring_up::{Moved, can_move},
    demotion::{Demotion, How, Treatment},
    error::{ReloadCause, TrialError},
    event::EventKind,
    id::Digest,
    lifecycle::{BeginsWith, Input},
    load::process::SavedBy,
    manifest::Mode,
    record::{Record, StateNote},
    step::Step,
};
use std::time::SystemTime;

/// Whether it was the state to begin with that a version could not bear.
pub(super) fn refuses_state(cause: &ReloadCause) -> bool {
    match cause {
        ReloadCause::Lifecycle(error) | ReloadCause::Trial(TrialError::Lifecycle(error)) => {
            error.step == Step::Restore
        }
        _ => false,
    }
}

impl Worker {
    /// The saved state with which an instance is to begin. One that this host does not hold is read, unless a generation
    /// serves that hands over its own.
    pub(super) fn state_for(&mut self, with: BeginsWith) -> Option<SavedBy> {
        let is_kept = match with {
            BeginsWith::Kept => true,
            BeginsWith::Checkpoint => false,
            BeginsWith::HandedOver | BeginsWith::Nothing => return None,
        };
        if self.shared.entry.live().is_none() && self.record.is_own() && self.saved.is_none() {
            match self.context.checkpoints.left(self.id()) {
                Ok(None) if is_kept => {
                    let file = self.context.checkpoints.path(self.id());
                    self.lose_state(&format!("{} is not there", file.display()));
                }
                Ok(left) => self.saved = left,
                Err(error) => self.lose_state(&error.to_string()),
            }
        }
        self.saved.clone()
    }

    /// Forgets the state that was saved last: it was handed over, or no one wants it.
    pub(super) fn forget_state(&mut self) {
        self.saved = None;
        if self.record.is_own() {
            self.context.checkpoints.remove(self.id());
        }
    }

    /// A saved state cannot be read.
    fn lose_state(&mut self, why: &str) {
        self.lose_checkpoint(why);
        self.do_now(Input::StateLost);
    }

    /// Writes the state that was saved at a stop, for the next start.
    pub(super) fn keep_state(&mut self) {
        self.note_state();
        let (true, Some((version, state))) = (self.record.is_own(), &self.saved) else { return };
        if let Err(error) = self.context.checkpoints.keep_for_good(self.id(), (*version, state)) {
            let reason = format!("its state cannot be written: {error}; it is lost when the host ends");
            self.emit(EventKind::CheckpointLost { reason });
        }
    }

    /// Remembers that there is a state to begin with, and whose it is.
    pub(super) fn note_state(&mut self) {
        let by = self.record.serving().map(|serving| serving.digest);
        let note = by.map(|by| StateNote { saved_at: SystemTime::now(), by });
        self.record.change(|record| record.set_state(note));
    }

    pub(super) fn discard_state(&mut self) {
        self.forget_state();
        self.record.change(|record| record.set_state(None));
    }

    /// Gives up a state that is of no use, but for someone who may want to look at it.
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

    /// Remembers where the generation that serves runs, and reports it if that is news.
    pub(super) fn note_place(&self, moved: Option<&Moved>) {
        let reason = moved.map(ToString::to_string);
        let before = std::mem::replace(&mut self.shared.progress.lock().moved, reason.clone());
        // A crash was reported when it was found.
        if let (Some(Moved::Unaffordable(_) | Moved::PanicAborts), Some(reason), None) =
            (moved, reason, before)
        {
            self.emit(EventKind::PluginDemoted { method: None, line: None, signal: None, reason });
        }
    }

    /// Reports that an artifact that has crashed a host does not run in this one.
    pub(super) fn report_kept_out(&self, demotion: &Demotion) {
        if self.shared.entry.live().is_none() {
            self.shared.entry.set_reason(&demotion.to_string());
        }
        if !self.context.demotions.is_news(self.id(), demotion.digest) {
            self.emit(demotion.event());
        }
    }

    /// Remembers that an artifact has died in a process of its own, so that it is not let into this one.
    pub(super) fn note_death(&self, digest: Digest, signal: Option<String>) {
        let known = self.context.demotions.of(self.id(), digest).is_some();
        if self.manifest().mode == Mode::Auto && !known {
            let demotion = Demotion::now(digest, How { signal, ..How::default() }, Treatment::Process);
            self.context.demotions.add(self.id(), demotion);
        }
    }

    /// Someone wants a plugin to run that has died too often, or has crashed a host. One that can go elsewhere stays there
    /// all the same. Says whether something may run that might not before.
    pub(super) fn lift_quarantine(&mut self) -> bool {
        let lifted = !self.record.quarantined().is_empty();
        self.record.note(Record::lift_quarantine);
        let mode = self.manifest().mode;
        if mode == Mode::InProcess || mode == Mode::Auto && !can_move(&self.context, mode) {
            return self.context.demotions.lift(self.id()) || lifted;
        }
        lifted
    }
}
