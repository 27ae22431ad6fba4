//! Simulated starts of the plugin.

use super::{World, texts::Says};
use crate::{
    id::Digest,
    lifecycle::{Aim, Input, Programs, ReportTime, Service, StopWhy, StoredVersion, Work},
    manifest::Manifest,
    record::{How, Wanted},
};
use std::{collections::BTreeSet, sync::Arc};

/// The initiator of a start. `same_program`: the last version has served in the same program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Command,
    Host { same_program: bool },
}

/// What a simulated start is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It tries stored versions.
    Stored,
    /// It builds the source.
    Source,
}

/// A simulated start that is in progress.
struct Starting {
    by: By,
    stored_first: bool,
    may_serve_stored: bool,
    /// The versions that must not run.
    kept_out: BTreeSet<Digest>,
    /// The stored versions that the lifecycle knows.
    stored: Vec<StoredVersion>,
    /// The versions that were tried, each with whether the source was built before, and whether the version was tried
    /// with an earlier configuration.
    tried: BTreeSet<(Digest, bool, bool)>,
    /// The version that has just rejected its configuration, and the manifest with the configuration that it has
    /// accepted before. This version has to be tried next, with that manifest.
    fits: Option<(Digest, Says)>,
    /// The artifact of the build, if it has rejected its configuration.
    unfit_build: Option<Digest>,
    /// Whether a stored version was started.
    has_served: bool,
    /// Whether the stored versions are tried again after the build.
    falls_back: bool,
    answered: bool,
    built: bool,
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
        let kept_out = self.kept_out();
        let mut start = Starting {
            by,
            stored_first: takes_time || self.machine.history.rolled_back_from().is_some(),
            may_serve_stored: stored.iter().any(|version| !kept_out.contains(&version.digest)),
            kept_out,
            stored: stored.clone(),
            tried: BTreeSet::new(),
            fits: None,
            unfit_build: None,
            has_served: false,
            falls_back: false,
            answered: false,
            built: false,
        };
        self.start_stage = Some(Stage::Stored);
        let mut work = self.step(Input::Start { stored, takes_time });
        loop {
            let is_over = !matches!(work, Some(Work::ServeStored { .. }));
            let postponed = self.watch.postponed;
            self.watch.rule(!is_over || postponed == 0, || format!("{postponed} failures are not reported"));
            work = match work {
                Some(Work::ServeStored { digest, manifest }) => {
                    self.try_stored(&mut start, (digest, manifest))
                }
                Some(Work::AnswerStart) => {
                    let may = start.is_answered_early();
                    self.watch
                        .rule(may, || format!("a start by {by:?} is answered before the source is built"));
                    start.answered = true;
                    self.step(Input::StartAnswered)
                }
                Some(Work::BuildSource) => self.build_at_start(&mut start),
                _ => {
                    let is_so = work == Some(Work::EndStart) && start.built;
                    self.watch.rule(is_so, || format!("a start ends with {work:?}, built: {}", start.built));
                    self.has_tried_all(&start);
                    self.start_stage = None;
                    return;
                }
            };
        }
    }

    /// Simulates an attempt to start a stored version. Returns the work that follows.
    fn try_stored(
        &mut self,
        start: &mut Starting,
        (digest, manifest): (Digest, Arc<Manifest>),
    ) -> Option<Work> {
        let wanted = self.watch.is_wanted;
        self.watch.rule(wanted, || format!("{digest:?} is started although the plugin was stopped"));
        let may_run = !start.kept_out.contains(&digest) && (start.stored_first || start.built);
        self.watch.rule(may_run, || format!("{digest:?} must not be started before the build"));
        let (said, in_force) = (Says::of(&manifest), self.watch.in_force);
        let is_accepted = said != in_force;
        let is_first = start.tried.insert((digest, start.built, is_accepted));
        self.watch.rule(is_first, || format!("{digest:?} is tried twice"));
        let expected = start.fits.take();
        let fits = start.accepted(digest, in_force);
        let may_fit = expected == Some((digest, said))
            || start.built && start.unfit_build == Some(digest) && fits == Some(said);
        self.watch.rule(may_fit || !is_accepted && expected.is_none(), || {
            format!("{digest:?} is started with {said:?}, but expected is {expected:?}")
        });
        let rejected = self.machine.manifest().clone();
        self.unfit = None;
        let serves = self.install((digest, manifest), How::Again);
        start.has_served |= serves;
        let is_unfit = !serves && !is_accepted && self.unfit == Some((digest, false));
        start.fits = fits.filter(|_| is_unfit).map(|fits| (digest, fits));
        if !serves || !is_accepted {
            return self.step(Input::Tried { serves });
        }
        (self.watch.latest, self.watch.is_pending) = (Says::of(&rejected), true);
        self.faults.serves_as_before(digest);
        self.step(Input::Tried { serves })
    }

    /// Simulates the build of the source in a start. Returns the work that follows.
    fn build_at_start(&mut self, start: &mut Starting) -> Option<Work> {
        let by = start.by;
        self.watch.rule(!start.built, || "a start builds twice".into());
        let comes_first = start.stored_first && start.may_serve_stored && self.watch.is_wanted;
        self.watch
            .rule(!comes_first || !start.tried.is_empty(), || "a start skips the stored versions".into());
        let must = start.is_answered_early() && start.has_served;
        self.watch.rule(!must, || format!("a start by {by:?} is not answered before the source is built"));
        self.watch.rule(start.fits.is_none(), || {
            format!("{:?} is not started with its earlier configuration", start.fits)
        });
        (start.built, self.start_stage, self.unfit) = (true, Some(Stage::Source), None);
        let serves = self.rebuild(Aim::Check) || self.serves.is_some();
        self.start_stage = Some(Stage::Stored);
        start.unfit_build = self.unfit.filter(|(_, is_new)| *is_new).map(|(digest, _)| digest);
        (start.kept_out, start.stored) = (self.kept_out(), self.stored());
        (start.falls_back, start.has_served) = (!serves && self.watch.is_wanted, false);
        let work = self.step(Input::SourceTried { serves, stored: start.stored.clone() });
        let has_ended = work == Some(Work::EndStart);
        self.watch.rule(has_ended || !serves, || "a start continues although a version serves".into());
        work
    }

    /// Checks that the start has tried the rejected artifact of the build with its earlier configuration, if no other
    /// version has served.
    fn has_tried_all(&mut self, start: &Starting) {
        let is_open = start.falls_back && !start.has_served;
        let Some(digest) = start.unfit_build.filter(|digest| is_open && !start.kept_out.contains(digest))
        else {
            return;
        };
        let fits = start.accepted(digest, self.watch.in_force);
        let is_so = fits.is_none() || start.tried.contains(&(digest, true, true));
        self.watch.rule(is_so, || format!("{digest:?} is not started with the configuration {fits:?}"));
    }

    /// When the failure of a version has to be reported. `is_new`: the version was built from the source.
    pub(super) fn report_time(&self, is_new: bool) -> ReportTime {
        let is_of_start = match self.start_stage {
            Some(Stage::Stored) => true,
            Some(Stage::Source) => is_new,
            None => false,
        };
        let serves = matches!(self.machine.service, Service::Serving(_));
        if is_of_start && !serves { ReportTime::Later } else { ReportTime::Now }
    }
}

impl Starting {
    /// Whether the caller gets an answer when a stored version serves.
    fn is_answered_early(&self) -> bool {
        self.by == By::Host { same_program: true } && !self.answered && !self.built
    }

    /// The manifest with the configuration that this version has accepted before. `None` if that configuration is in
    /// force, or is not known, or if a user starts the plugin.
    fn accepted(&self, digest: Digest, in_force: Says) -> Option<Says> {
        let version = self.stored.iter().find(|version| version.digest == digest)?;
        let config = version.accepted.as_ref()?["is"].as_u64()?;
        (self.by != By::Command && config != in_force.config).then_some(Says { config, ..in_force })
    }
}
