//! The effects of the lifecycle on the simulated environment.

use super::{Store, World, texts::Says};
use crate::lifecycle::Effect;

impl World {
    pub(super) fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Quarantine { digest, .. } => {
                self.watch.is_quarantined(digest, self.tried);
                self.quarantined.insert(digest);
            }
            Effect::Demote { digest, .. } => self.is_demoted(digest),
            Effect::LiftQuarantine => self.quarantined.clear(),
            Effect::LiftDemotions => self.crashes.are_lifted(),
            Effect::RememberGood => {
                self.good = self.machine.service.last().map(|last| last.digest);
                self.taken_back.retain(|it| Some(*it) != self.good);
                self.watch.does(self.now, Effect::RememberGood, self.tried);
            }
            Effect::ReportTakenBack { from, .. } => {
                self.taken_back.insert(from.digest);
                self.watch.does(self.now, effect, self.tried);
            }
            Effect::ReportSuperseded { by } => {
                self.watch.is_superseded(by.as_ref());
                self.newer = by;
            }
            Effect::WarnOfUnstable(paths) => {
                let may_be = self.files.seem_unstable(&paths);
                self.reported.extend(paths.iter().cloned());
                self.watch.rule(may_be, || format!("{paths:?} are reported as written by every build"));
            }
            Effect::RememberWanted(wanted) => self.remembered = wanted,
            Effect::Publish(manifest) => self.published = Says::of(&manifest),
            Effect::LoseCheckpoint(_) => {
                // A file that cannot be renamed stays.
                let saved = self.store.saved.filter(|_| !self.calm && self.dice.chance(1, 4));
                self.store = Store { saved, is_noted: false, ..self.store };
                self.watch.gives_up_a_state();
            }
            Effect::KeepState | Effect::NoteState => self.store.is_noted = true,
            Effect::ForgetState => (self.store.saved, self.store.is_forgotten) = (None, true),
            Effect::DiscardState => self.store = Store { saved: None, is_noted: false, ..self.store },
            effect => self.watch.does(self.now, effect, self.tried),
        }
    }
}
