//! Simulated stops and checkpoints.

use super::World;
use crate::lifecycle::{Ending, Input, StopWhy, Work};

impl World {
    /// Simulates a command to stop.
    pub(super) fn stop(&mut self) {
        self.hear();
        let reasons = [
            StopWhy::Asked,
            StopWhy::Discarded,
            StopWhy::Unregistered,
            StopWhy::Removed,
            StopWhy::Renamed,
            StopWhy::ShutDown,
        ];
        let why = reasons[self.dice.below(6) as usize];
        let discards = why == StopWhy::Discarded;
        self.wants_after(why);
        let (before, was_up) = (self.store.saved, self.watch.is_up);
        let serves = self.serves.take();
        self.watch.stopped();
        self.unclear = None;
        let work = self.step(Input::Stop(why));
        self.is_remembered();
        let is_so = work == Some(Work::EndService { saves: !discards, report: was_up });
        self.watch.rule(is_so, || format!("a stop leads to {work:?}; the plugin ran: {was_up}"));
        let mut expected = before.filter(|_| was_up).or(self.watch.promised);
        let ending = match serves {
            None => Ending::NothingServed,
            Some(_) if discards || !self.stateful => {
                expected = None;
                Ending::Stateless
            }
            Some(_) if !self.calm && self.dice.chance(1, 4) => Ending::NotSaved("the save fails".into()),
            Some(_) => {
                self.store.saved = Some(self.store.fresh());
                expected = self.store.saved;
                Ending::Saved
            }
        };
        let expected = expected.filter(|_| !discards);
        let has_none = !discards && matches!(ending, Ending::Stateless);
        self.store.is_forgotten = false;
        let is_lost = matches!(ending, Ending::NotSaved(_));
        self.watch.reports_loss = is_lost.then_some(before.is_some());
        self.step(Input::Ended { ending, checkpoint: before.is_some() });
        self.watch.promised = expected;
        let forgets = self.store.is_forgotten || !has_none;
        self.watch.rule(forgets, || "a state is kept for a version without state".into());
        let (saved, is_noted) = (self.store.saved, self.store.is_noted);
        self.watch.rule(is_noted == expected.is_some(), || {
            format!(
                "the record notes a state for the next start: {is_noted}; the expected state is {expected:?}"
            )
        });
        let is_kept = expected.is_none_or(|expected| saved == Some(expected));
        self.watch.rule(is_kept, || format!("the kept state is {saved:?} instead of {expected:?}"));
        self.watch.rule(!discards || saved.is_none(), || format!("the discarded state {saved:?} is kept"));
    }

    /// Simulates a checkpoint, which may fail.
    pub(super) fn checkpoint(&mut self) -> Input {
        self.takes_time();
        if self.serves.is_some() && self.dice.chance(4, 5) {
            let stateful = self.stateful;
            self.watch.rule(stateful, || "a checkpoint is made of a version without state".into());
            self.store.saved = Some(self.store.fresh());
            return Input::CheckpointEnded { late: false };
        }
        Input::CheckpointEnded { late: self.dice.chance(1, 2) }
    }
}
