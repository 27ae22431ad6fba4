//! The shell around the [lifecycle](crate::lifecycle): it passes inputs to the lifecycle, and carries out effects and
//! work.

use super::{Command, Worker, at, cause::Cause};
use crate::{
    error::ReloadCause,
    event::{EventKind, Stage},
    lifecycle::{Effect, Effects, History, Input, Past, Work},
    record::Record,
};
use std::{
    hash::{BuildHasher, RandomState},
    time::Instant,
};

/// The facts about earlier hosts from a plugin's record.
pub(super) fn past(record: &Record) -> Past {
    Past {
        wanted: record.wanted(),
        unusable: None,
        source: record.rollback_reason().map(str::to_owned),
        saved_at_stop: record.state().is_some(),
        history: History {
            served: record.versions().iter().map(|version| version.digest).collect(),
            good: record.last_good(),
            taken_back: record.taken_back(),
            last: record.serving().map(|serving| serving.digest),
            newest: record.newest(),
            is_rolled_back: record.is_rolled_back(),
        },
    }
}

/// A random number, which differs for each plugin and each host.
pub(super) fn any_number() -> u64 {
    RandomState::new().hash_one(())
}

impl Worker {
    /// Carries out `begin` and then one command after the other, until the host shuts down.
    pub(super) async fn run(mut self, begin: Command) {
        let begin = self.mailbox.receive(begin);
        let mut work = self.process(begin).await;
        loop {
            work = if let Some(Work::CarryOut(ticket)) = work {
                if let Some(command) = self.mailbox.take(ticket)
                    && self.carry_out(command).await.is_break()
                {
                    return;
                }
                // Deaths that have happened are handled before the next command.
                self.take_deaths();
                self.process(Input::Finished).await
            } else if let Some(input) = self.next_input().await {
                self.process(input).await
            } else {
                return;
            }
        }
    }

    /// Waits for the next input while no work is in progress.
    async fn next_input(&mut self) -> Option<Input> {
        loop {
            tokio::select! {
                biased;
                died = self.deaths.next() => self.died(died),
                command = self.mailbox.next() => return command,
                () = at(self.lifecycle.due()) => return Some(Input::Due),
            }
        }
    }

    /// Passes to the lifecycle an input that leads to no work, and applies the effects.
    pub(super) fn do_now(&mut self, input: Input) {
        let work = self.step(input);
        debug_assert!(work.is_none(), "{work:?} is not carried out");
    }

    /// Passes an input to the lifecycle, and carries out the work that follows. Work that belongs to a command or its
    /// build is not carried out, but returned.
    pub(super) async fn process(&mut self, input: Input) -> Option<Work> {
        let mut work = self.step(input);
        loop {
            let ended = match work? {
                Work::Restart { digest, goes_back } => {
                    let cause = if goes_back { Cause::go_back() } else { Cause::resume() };
                    Input::TaskEnded { serves: self.serve_again(digest, cause).await }
                }
                Work::GoBack { to } => {
                    Input::TaskEnded { serves: self.serve_again(to, Cause::go_back()).await }
                }
                Work::Checkpoint => self.checkpoint().await,
                Work::CountCalls => self.count_calls(),
                Work::LookForManifest => Input::LookedForManifest { is_missing: self.is_missing() },
                Work::ReportAgain(change) => self.mailbox.receive(Command::Changed(change)),
                of_a_command => return Some(of_a_command),
            };
            work = self.step(ended);
            self.record.save();
        }
    }

    /// Passes an input to the lifecycle, and applies the effects immediately. Returns the work.
    pub(super) fn step(&mut self, input: Input) -> Option<Work> {
        let Effects { now, then } = self.lifecycle.step(Instant::now(), input);
        // The faults are published before the effects, so that a receiver of an event finds them.
        self.shared.progress.lock().faults.clone_from(self.lifecycle.faults());
        for effect in now {
            self.apply(effect);
        }
        then
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Refuse(ticket) => {
                if let Some(command) = self.mailbox.take(ticket) {
                    command.refuse(self.id());
                }
            }
            // This changes the record in memory. The record is written later: when a version serves, before the source
            // is built, or when the plugin is stopped.
            Effect::RememberWanted(wanted) => self.record.note(|record| record.set_wanted(wanted)),
            Effect::ExpectRestart(due) => self.shared.entry.restart_due(due),
            Effect::Publish(manifest) => {
                *self.shared.manifest.lock() = manifest;
                self.note_manifest();
            }
            Effect::ReportCrash { version, exit, restart_in } => self.report_crash(version, exit, restart_in),
            Effect::Quarantine { digest, reason } => self.quarantine(digest, reason),
            Effect::Demote { digest, signal } => self.demote(digest, signal),
            Effect::LiftQuarantine => self.record.note(Record::lift_quarantine),
            Effect::LiftDemotions => self.context.demotions.lift(self.id()),
            Effect::ReportMoved => self.report_moved(),
            Effect::ReportFailures => self.report_postponed(),
            Effect::CountRestart => self.shared.progress.lock().restarts += 1,
            Effect::ReportRestart { deaths } => self.emit(EventKind::PluginRestarted { deaths }),
            Effect::ReportTakenBack { from, reason, fault } => self.taken_back(from, &reason, &fault),
            Effect::ReportNothingEarlier => {
                let error = self.error(Stage::Confirm, ReloadCause::NothingEarlier);
                self.failed(&error);
            }
            Effect::RememberGood => self.record.note(Record::is_good),
            Effect::ReportUnclearBuild => self.report_unclear_build(),
            Effect::ReportSuperseded { by } => {
                self.sources.newer = by;
                self.emit(EventKind::BuildSuperseded);
            }
            Effect::WarnOfUnstable(paths) => self.warn_of_unstable(&paths),
            Effect::ForgetState => self.forget_state(),
            Effect::LoseCheckpoint(why) => self.lose_checkpoint(&why),
            Effect::KeepState => self.keep_state(),
            Effect::NoteState => self.note_state(),
            Effect::DiscardState => self.discard_state(),
            Effect::ReportStateLost(reason) => self.emit(EventKind::CheckpointLost { reason }),
        }
    }
}
