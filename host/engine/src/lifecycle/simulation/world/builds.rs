//! Simulated builds, and changes of files.

use super::{Command, World, compiled::CompileEnd, digest};
use crate::{
    build::Moment,
    id::Digest,
    lifecycle::{Aim, Input, Installation, ManifestFile, Reading, Ticket, Work},
    record::How,
    watch::{CLOCK_GRAIN, What},
};
use std::{path::Path, time::Duration};

impl World {
    /// Simulates the command that reports a changed file: a build, or a read of the manifest.
    pub(super) fn change_is_carried_out(&mut self, ticket: Ticket) {
        let change = self.changes[&ticket].clone();
        let seen = self.files.see(&change, (Moment::After, self.wall()));
        self.watch.failed_builds = 0;
        let reported = self.reported.clone();
        let work = self.step(Input::Changed(seen));
        let are_known = self.reported.is_superset(&reported);
        self.watch.rule(are_known, || {
            format!("an edit makes the lifecycle forget that every build writes {reported:?}")
        });
        match work {
            Some(Work::BuildChange(cause)) => {
                let is_so = change.what == What::Source && cause.path == change.path;
                self.watch.rule(is_so, || format!("{change:?} leads to a build because of {cause:?}"));
                self.rebuild(Aim::Update);
            }
            Some(Work::ReadManifest { builds, .. }) => {
                let is_so = change.what == What::Manifest;
                self.watch.rule(is_so, || format!("{change:?} leads to a read of the manifest"));
                let may_ignore = self.machine.overlap.is_unstable(&change.path);
                self.watch.rule(builds || may_ignore, || "an edit of the manifest is ignored".into());
                let next = self.edit(Reading::Edit);
                if builds {
                    self.follow_up(next);
                }
            }
            work => {
                let is_missed = self.watch.is_wanted && self.is_missed(&change.path);
                let is_so = work.is_none() && change.what == What::Source && !is_missed;
                self.watch.rule(is_so, || format!("{change:?} leads to {work:?}, and is not built"));
            }
        }
    }

    /// Whether a user has saved this file since a compilation last read it, and the lifecycle does not suspect that the
    /// builds write it.
    fn is_missed(&self, path: &Path) -> bool {
        self.files.unread().any(|it| it == path) && !self.machine.overlap.is_unstable(path)
    }

    /// Whether it is acceptable that the newest source does not serve: some files of the user were not read, and the
    /// lifecycle knows or suspects that the builds write each of them.
    pub(super) fn is_known_as_unstable(&self) -> bool {
        let overlap = &self.machine.overlap;
        self.files.unread().all(|path| overlap.is_unstable(path)) && self.files.unread().next().is_some()
    }

    /// Simulates a build as the lifecycle requests it, and the installation of the result. Returns whether the result
    /// serves.
    pub(super) fn rebuild(&mut self, aim: Aim) -> bool {
        if !self.watch.is_wanted {
            let work = self.step(Input::Build(aim));
            self.watch.rule(work.is_none(), || format!("{work:?} for a plugin that was stopped"));
            return false;
        }
        self.unclear = None;
        self.watch.builds(aim);
        let mut work = self.step(Input::Build(aim));
        let mut is_good = false;
        loop {
            if let Some(change) = self.newer.take()
                && change.what == What::Manifest
            {
                self.edit(Reading::Edit);
            }
            work = match work {
                Some(Work::WaitForGit) => {
                    self.passes();
                    self.waits().or_else(|| {
                        let file = self.files.manifest();
                        self.step(Input::GitIsQuiet { at: self.wall(), file })
                    })
                }
                Some(Work::Compile { reads_manifest }) => {
                    let is_due = self.manifest_is_due();
                    self.watch.rule(reads_manifest == is_due, || {
                        format!(
                            "a build reads the manifest: {reads_manifest}, and that is necessary: {is_due}"
                        )
                    });
                    if reads_manifest {
                        self.edit(Reading::Edit);
                    }
                    self.compiles()
                }
                Some(Work::Examine { reads_manifest }) => {
                    let is_due = self.files.manifest_is_observed() && self.manifest_is_due();
                    self.watch
                        .rule(reads_manifest || !is_due, || "a manifest that has changed is not read".into());
                    if reads_manifest {
                        self.edit(Reading::Edit);
                    }
                    let (compiled, ended) = self.compilation_ends();
                    is_good = ended == CompileEnd::Good;
                    self.watch.compilation_ended(ended);
                    self.step(Input::Compiled(compiled))
                }
                Some(Work::Pause) => self.waits().or_else(|| self.step(Input::PauseOver)),
                Some(Work::EndBuild { aim, renews, passes_over }) => {
                    let expected = self.rollbacks.from().filter(|_| aim == Aim::Check);
                    self.watch.rule(passes_over == expected, || {
                        format!(
                            "a build with the aim {aim:?} passes over {passes_over:?} instead of {expected:?}"
                        )
                    });
                    let is_so = renews == (aim == Aim::Renew || self.watch.is_pending);
                    self.watch.rule(is_so, || {
                        format!("a build with the aim {aim:?} makes a new generation in any case: {renews}")
                    });
                    let read = self.files.read_source();
                    return self.built((aim, renews, passes_over), read, is_good);
                }
                _ => {
                    let is_so = work == Some(Work::CancelBuild);
                    self.watch.rule(is_so, || format!("{work:?} in a build"));
                    return false;
                }
            };
        }
    }

    /// Whether the lifecycle does not know the current manifest, or does not know that the manifest is unreadable.
    pub(super) fn manifest_is_due(&self) -> bool {
        match self.files.manifest() {
            ManifestFile::Unreadable => !self.faults.are_of_manifest(),
            ManifestFile::AsRead => self.faults.are_of_manifest(),
            ManifestFile::Edited | ManifestFile::Missing => true,
        }
    }

    /// Simulates a compilation, which runs the build script first. Returns the work that follows.
    fn compiles(&mut self) -> Option<Work> {
        self.files.compile_begins();
        let lib_is_read_at = self.dice.below(3);
        for part in 0..2 {
            self.passes();
            if let Some(work) = self.waits() {
                self.files.compile_ends();
                return Some(work);
            }
            if part == 0 {
                for change in self.files.script_ends(self.wall()) {
                    let command = if change.what == What::Manifest { Command::Edit } else { Command::Save };
                    self.give_change(command, change);
                }
            }
            if lib_is_read_at == part {
                self.files.lib_is_read();
            }
        }
        // A change that was just made may be reported before the compiler ends, or after that.
        if self.dice.chance(1, 2)
            && let Some(work) = self.waits()
        {
            self.files.compile_ends();
            return Some(work);
        }
        self.files.compile_ends();
        let (at, contents) = (self.wall(), self.files.contents(self.machine.held()));
        self.step(Input::CompilerEnded { at, contents })
    }

    /// Lets a little time pass.
    fn passes(&mut self) {
        self.now += self.dice.up_to(Duration::from_millis(40));
    }

    /// Simulates the events during a stage of a build. Returns the work that the lifecycle requests, if an event ends
    /// the stage.
    fn waits(&mut self) -> Option<Work> {
        let mut length = if self.calm { 0 } else { self.dice.below(3) };
        while length > 0 || !self.inbox.is_empty() {
            length = length.saturating_sub(1);
            if !self.calm {
                self.happens();
            }
            self.hear();
            if !self.calm && self.dice.chance(1, 16) {
                self.edit(Reading::Edit);
            }
            let mut work = None;
            if let Some(ticket) = self.inbox.pop_front() {
                work = self.drive(Input::Command(ticket, self.commands[&ticket].kind()));
                self.watch.is_attended(ticket);
            } else if self.machine.due().is_some_and(|due| due <= self.now) {
                work = self.drive(Input::Due);
            }
            while let Some(Work::Consider(ticket) | Work::Include(ticket)) = work {
                self.watch.considered(ticket);
                work = match work {
                    Some(Work::Consider(_)) => self.considers(ticket),
                    _ => {
                        if self.changes[&ticket].what == What::Manifest {
                            self.edit(Reading::Edit);
                        }
                        None
                    }
                };
            }
            if work.is_some() {
                return work;
            }
        }
        None
    }

    /// Observes a changed file during a compilation, as often as the lifecycle requests.
    fn considers(&mut self, ticket: Ticket) -> Option<Work> {
        let change = self.changes[&ticket].clone();
        let is_unread = change.what == What::Manifest && self.files.manifest() != ManifestFile::AsRead;
        self.takes_time();
        loop {
            let seen = self.files.see(&change, (Moment::During, self.wall()));
            let began = self.machine.compile_began();
            match self.step(Input::Considered { seen: seen.clone(), is_unread }) {
                Some(Work::ConsiderAgain) => {
                    self.now += CLOCK_GRAIN;
                    self.takes_time();
                }
                work => {
                    self.files.is_observed(&seen, began);
                    self.watch.considered_as((&seen, began), is_unread, self.newer.is_some());
                    return work;
                }
            }
        }
    }

    /// Simulates the end of a build. Returns whether the result serves.
    fn built(
        &mut self,
        (aim, renews, passes_over): (Aim, bool, Option<Digest>),
        read: u8,
        is_good: bool,
    ) -> bool {
        self.watch.build_ends(aim);
        self.tried = Some(read);
        if !is_good {
            self.build_fails(read);
            return false;
        }
        self.watch.failed_builds = 0;
        let manifest = self.machine.latest_manifest().clone();
        let is_same = self.serves.is_some_and(|serves| serves.digest == digest(read));
        if self.serves.is_some() && passes_over == Some(digest(read)) && (renews || !is_same) {
            self.step(Input::Install(Installation { how: How::Built, manifest, replaces: true }));
            self.step(Input::PassedOver);
            self.watch.is_chosen();
            return true;
        }
        if renews || self.serves.is_none_or(|serves| serves.digest != digest(read)) {
            return self.install((digest(read), manifest), How::Built);
        }
        self.step(Input::Install(Installation { how: How::Built, manifest, replaces: true }));
        self.watch.newest_serves();
        self.rollbacks.end_with(digest(read));
        self.step(Input::Unchanged);
        true
    }

    fn build_fails(&mut self, source: u8) {
        let is_missing = self.dice.chance(1, 4);
        if is_missing {
            self.unclear = Some((source, self.now + Duration::from_millis(300)));
        } else {
            self.watch.source_fails(source);
            self.watch.failed_builds += 1;
        }
        let text = self.faults.text("the source does not compile");
        let work = self.step(Input::BuildFailed { text, is_missing });
        let since_it_began = self.watch.failed_builds <= 3;
        let report = self.report_time(true);
        let expected = (!is_missing).then_some(Work::Rewatch { since_it_began, report });
        if !is_missing {
            self.watch.is_reported(report);
        }
        self.watch.rule(work == expected, || {
            format!("a failed build leads to {work:?} instead of to {expected:?}")
        });
    }

    /// Looks for the manifest, because a build has failed while the manifest was missing. The failure has to be reported
    /// if the manifest exists again.
    pub(super) fn looks_for_manifest(&mut self) -> Input {
        let unclear = self.unclear.take();
        let is_due = unclear.is_some_and(|(_, until)| until <= self.now);
        self.watch.rule(is_due, || "a failed build is reported at the wrong time".into());
        let is_missing = !self.calm && self.dice.chance(1, 4);
        if is_missing {
            self.removed = unclear.map(|(source, _)| source);
        } else if let Some((source, _)) = unclear {
            self.watch.source_fails(source);
            self.watch.reports_build = true;
        }
        Input::LookedForManifest { is_missing }
    }
}
