//! The rules about the time at which the lifecycle requires its next work.

use super::{At, Watch};
use crate::lifecycle::{Lifecycle, Policy, Service, Work};
use std::time::{Duration, Instant};

/// The interval at which the calls of a watched version are counted.
const LOOK: Duration = Duration::from_millis(20);

/// The expected times of the work that the serving generation causes.
#[derive(Default)]
pub(super) struct Due {
    /// When the calls of the version are counted next, if the version is watched.
    look: Option<Instant>,
    /// When the state of the version is saved next.
    checkpoint: Option<Instant>,
    /// Whether the version has state.
    stateful: bool,
}

impl Watch {
    /// A version begins to serve. It is watched for `window`, if that is set.
    pub(super) fn due_from(&mut self, now: Instant, stateful: bool, window: Option<Duration>) {
        let look = window.map(|window| now + window.min(LOOK));
        let checkpoint = self.policy().checkpoint.filter(|_| stateful).map(|every| now + every);
        self.due = Due { look, checkpoint, stateful };
    }

    /// The policy of a manifest comes into force.
    pub(super) fn due_after(&mut self, now: Instant, before: Policy) {
        let every = self.policy().checkpoint;
        if every != before.checkpoint {
            self.due.checkpoint = every.filter(|_| self.due.stateful).map(|every| now + every);
        }
    }

    /// A checkpoint does not end in time, so no further checkpoint is made of this generation.
    pub(super) fn saves_no_more(&mut self) {
        self.due.checkpoint = None;
    }

    /// Checks the time at which the lifecycle requires its next work, after it has requested `work`. `others`: the times
    /// of work that does not depend on the serving generation.
    pub(in super::super) fn is_due(
        &mut self,
        (now, work): (Instant, Option<&Work>),
        machine: &Lifecycle,
        others: [Option<Instant>; 2],
    ) {
        match work {
            Some(Work::CountCalls) => {
                // The last count is at the end of the time for which the version is watched.
                let end = self.unproven.filter(|until| *until > now);
                self.due.look = Some(end.map_or(now + LOOK, |until| until.min(now + LOOK)));
            }
            Some(Work::Checkpoint) => self.due.checkpoint = self.policy().checkpoint.map(|every| now + every),
            _ => {}
        }
        let builds = self.builds.is_some_and(|builds| builds.at != At::End);
        let look = self.due.look.filter(|_| self.unproven.is_some() && !builds);
        let own = match (&machine.service, self.current) {
            // The pause before a restart is partly random.
            (Service::Backoff { due, .. }, _) => [Some(*due), None],
            (_, Some(_)) => [look, self.due.checkpoint],
            (_, None) => [None, None],
        };
        let (is, expected) = (machine.due(), own.into_iter().chain(others).flatten().min());
        self.rule(is == expected, || format!("the next work is due at {is:?} instead of {expected:?}"));
    }
}
