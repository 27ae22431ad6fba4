//! Simulated starts of the plugin.

use super::{World, texts::Says};
use crate::{
    lifecycle::{Aim, Input, Programs, StopWhy, Work},
    record::{How, Wanted},
};
use std::{collections::BTreeSet, sync::Arc};

/// The initiator of a start. `same_program`: the last version has served in the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Command,
    Host { same_program: bool },
}

impl World {
    /// A user wants the plugin to run.
    pub(super) fn user_wants(&mut self) {
        self.wanted = Wanted::Running;
        self.watch.wanted();
        self.step(Input::Wanted);
        self.is_remembered();
    }

    /// A stop for this reason changes whether the plugin should run.
    pub(super) fn wants_after(&mut self, why: StopWhy) {
        self.wanted = match why {
            StopWhy::Asked | StopWhy::Discarded => Wanted::Stopped,
            StopWhy::Unregistered => Wanted::Unregistered,
            StopWhy::Removed | StopWhy::Renamed => Wanted::AsManifest,
            StopWhy::ShutDown => self.wanted,
        };
    }

    /// Checks what the record states about whether the plugin should run.
    pub(super) fn is_remembered(&mut self) {
        let (is, expected) = (self.remembered, self.wanted);
        self.watch.rule(is == expected, || format!("the record states {is:?} instead of {expected:?}"));
    }

    /// Simulates the start of the plugin by the host.
    pub(super) fn start_by_host(&mut self) {
        let starts = match self.wanted {
            Wanted::AsManifest => self.published.auto_start,
            wanted => wanted == Wanted::Running,
        };
        if starts {
            self.watch.wanted();
        }
        let names = [None, Some("one"), Some("another")];
        let [last, own] = [0; 2].map(|_| names[self.dice.below(3) as usize]);
        let programs = Programs { last: last.map(Into::into), own: own.map(Into::into) };
        let work = self.step(Input::HostStarts(programs));
        let is_so = work == starts.then_some(Work::BringUp);
        self.watch.rule(is_so, || {
            format!("the start of a plugin with the host leads to {work:?}, and it starts: {starts}")
        });
        if starts {
            let same_program = matches!((last, own), (Some(last), Some(own)) if last == own);
            self.start(By::Host { same_program });
        }
    }

    /// Simulates a start: does the work that the lifecycle requests, until the start ends.
    pub(super) fn start(&mut self, by: By) {
        let takes_time = self.dice.chance(7, 8);
        let stored = if self.dice.chance(1, 4) { Vec::new() } else { self.stored() };
        let mut kept_out = self.kept_out();
        let stored_first = takes_time || self.machine.history.rolled_back_from().is_some();
        let may_serve_stored = stored.iter().any(|version| !kept_out.contains(&version.digest));
        let mut work = self.step(Input::Start { stored, takes_time });
        let (mut tried, mut answered, mut built, mut unfit) = (BTreeSet::new(), false, false, None);
        // Whether a stored version was installed.
        let mut has_served = false;
        loop {
            let input = match work {
                Some(Work::ServeStored(digest)) => {
                    let wanted = self.watch.is_wanted;
                    self.watch
                        .rule(wanted, || format!("{digest:?} is started although the plugin was stopped"));
                    let may_run = !kept_out.contains(&digest) && (stored_first || built);
                    self.watch.rule(may_run, || format!("{digest:?} must not be started before the build"));
                    let is_first = tried.insert((digest, built));
                    self.watch.rule(is_first, || format!("{digest:?} is tried twice"));
                    let manifest = self.machine.manifest().clone();
                    let serves = self.install((digest, manifest), How::Again);
                    let is_unfit = !serves && self.dice.chance(1, 2);
                    unfit = is_unfit.then_some(digest);
                    Input::Tried { serves, is_unfit }
                }
                Some(Work::ServeAccepted(digest)) => {
                    let was_refused = self.machine.faults().refused().is_some_and(|(it, _)| it == digest);
                    let may_fit = by != By::Command && (unfit.take() == Some(digest) || built && was_refused);
                    self.watch.rule(may_fit, || {
                        format!("{digest:?} is started with its earlier configuration needlessly")
                    });
                    let said = self.machine.manifest().clone();
                    // The configuration that the version has accepted before.
                    let accepted = Says { config: 20, ..Says::of(&said) };
                    let serves = accepted != Says::of(&said)
                        && self.install((digest, Arc::new(accepted.manifest())), How::Again);
                    if serves {
                        self.is_refused(said);
                    }
                    Input::Tried { serves, is_unfit: self.dice.chance(1, 2) }
                }
                Some(Work::AnswerStart) => {
                    let may = by == By::Host { same_program: true } && !answered && !built;
                    self.watch
                        .rule(may, || format!("a start by {by:?} is answered before the source is built"));
                    answered = true;
                    Input::StartAnswered
                }
                Some(Work::BuildSource) => {
                    self.watch.rule(!built, || "a start builds twice".into());
                    let comes_first = stored_first && may_serve_stored && self.watch.is_wanted;
                    self.watch.rule(!comes_first || !tried.is_empty(), || {
                        "a start skips the stored versions".into()
                    });
                    let must = by == By::Host { same_program: true } && has_served;
                    self.watch.rule(!must || answered, || {
                        format!("a start by {by:?} is not answered before the source is built")
                    });
                    built = true;
                    let serves = self.rebuild(Aim::Check) || self.serves.is_some();
                    kept_out = self.kept_out();
                    Input::SourceTried { serves, stored: self.stored() }
                }
                _ => {
                    let is_so = work == Some(Work::EndStart) && built;
                    return self.watch.rule(is_so, || format!("a start ends with {work:?}, built: {built}"));
                }
            };
            let ends = matches!(input, Input::SourceTried { serves: true, .. });
            has_served |= matches!(input, Input::Tried { serves: true, .. });
            work = self.step(input);
            let has_ended = work == Some(Work::EndStart);
            self.watch.rule(has_ended || !ends, || "a start continues although a version serves".into());
        }
    }
}
