//! The simulated work of the worker: commands, builds and rollbacks, with random results.

use super::{Command, World, digest};
use crate::{
    id::Digest,
    lifecycle::{Aim, Compiled, Input, Installation, Reading, Rollback, Ticket, Work},
    record::How,
};
use std::{sync::Arc, time::Duration};

impl World {
    pub(super) fn carry_out(&mut self, ticket: Ticket) {
        let command = self.commands[&ticket];
        self.watch.note(|| format!("carried out: {command:?}, {ticket:?}"));
        match command {
            Command::Stop => self.stop(),
            Command::Return => {
                self.file = self.file.edited(&mut self.dice);
                self.watch.overridden = None;
                self.accepts(self.file);
                self.step(Input::Returned(Arc::new(self.file.manifest())));
            }
            Command::Defaults => {
                let next = self.edit(Reading::Defaults);
                self.follow_up(next);
            }
            Command::Move => {
                self.unclear = None;
                self.step(Input::Moved { root: "elsewhere".into(), file: "elsewhere/plugin.toml".into() });
                let next = self.edit(Reading::Moved);
                self.follow_up(next);
            }
            Command::Save => {
                if self.dice.chance(3, 4) {
                    self.watch.failed_builds = 0;
                    self.step(Input::Edited);
                }
                self.rebuild(Aim::Update);
            }
            Command::Reload => {
                self.watch.wanted();
                self.step(Input::Wanted);
                self.rebuild(Aim::Renew);
            }
            Command::Start => self.start_by_command(),
            Command::Rollback => self.roll_back(),
            Command::Configure => self.configure(),
            Command::Edit => {
                let next = self.edit(Reading::Edit);
                self.follow_up(next);
            }
        }
    }

    /// Simulates a command to start.
    fn start_by_command(&mut self) {
        self.watch.wanted();
        self.step(Input::Wanted);
        let (serves, quarantine_lifted) = (self.serves.is_some(), !self.quarantined.is_empty());
        self.quarantined.clear();
        let is_hindered = quarantine_lifted && self.machine.faults().of_source();
        let expected = match (is_hindered, serves) {
            (true, _) => Work::BuildSource,
            (false, true) => Work::EndStart,
            (false, false) => Work::BringUp,
        };
        if expected != Work::EndStart {
            self.watch.quarantine_lifted();
        }
        let work = self.step(Input::StartAsked { serves, quarantine_lifted });
        match &work {
            Some(Work::BuildSource) => {
                self.rebuild(Aim::Renew);
            }
            Some(Work::BringUp) => self.start(),
            _ => {}
        }
        self.watch.rule(work.as_ref() == Some(&expected), || {
            format!("a start leads to {work:?} instead of to {expected:?}")
        });
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
        // The source that the last compilation has read, and whether the compilation has succeeded.
        let (mut read, mut is_good) = (self.source, false);
        loop {
            let ended = match work {
                Some(Work::WaitForGit) => Input::GitIsQuiet,
                Some(Work::Compile) => {
                    read = self.source;
                    let compiled = self.compiles();
                    is_good = compiled == Compiled::Good;
                    Input::Compiled(compiled)
                }
                Some(Work::Pause) => Input::PauseOver,
                Some(Work::EndBuild { aim, renews }) => {
                    let is_so = renews == (aim == Aim::Renew || self.watch.is_pending);
                    self.watch.rule(is_so, || {
                        format!("a build with the aim {aim:?} makes a new generation in any case: {renews}")
                    });
                    return self.built((aim, renews), read, is_good);
                }
                _ => {
                    let is_so = work == Some(Work::CancelBuild);
                    self.watch.rule(is_so, || format!("{work:?} in a build"));
                    return false;
                }
            };
            work = self.waits(&mut read).or_else(|| self.step(ended));
        }
    }

    /// A random result of a compilation.
    fn compiles(&mut self) -> Compiled {
        match self.dice.below(8) {
            _ if self.calm => Compiled::Good,
            0 => Compiled::Stale,
            1 => Compiled::Failed { may_pass: false },
            2..4 => Compiled::Failed { may_pass: true },
            4 => Compiled::Incomplete,
            _ => Compiled::Good,
        }
    }

    /// Simulates the events during a stage of a build. Returns the work that the lifecycle requests, if an event ends
    /// the stage.
    fn waits(&mut self, read: &mut u8) -> Option<Work> {
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
                    Some(Work::Consider(_)) => {
                        self.takes_time();
                        let supersedes = *read != self.source || self.dice.chance(1, 4);
                        self.step(Input::Considered { supersedes })
                    }
                    _ => None,
                };
            }
            if work.is_some() {
                return work;
            }
        }
        None
    }

    /// Simulates the end of a build. Returns whether the result serves.
    fn built(&mut self, (aim, renews): (Aim, bool), read: u8, is_good: bool) -> bool {
        self.watch.build_ends(aim);
        self.tried = Some(read);
        if !is_good {
            self.build_fails(read);
            return false;
        }
        self.watch.failed_builds = 0;
        let manifest = self.machine.latest_manifest().clone();
        if renews || self.serves.is_none_or(|serves| serves.digest != digest(read)) {
            return self.install((digest(read), manifest), How::Built);
        }
        self.step(Input::Install(Installation { how: How::Built, manifest, replaces: true }));
        self.watch.newest_serves();
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
        let work = self.step(Input::BuildFailed { text: "the source does not compile".into(), is_missing });
        let since_it_began = self.watch.failed_builds <= 3;
        let expected = (!is_missing).then_some(Work::Rewatch { since_it_began });
        self.watch.rule(work == expected, || {
            format!("a failed build leads to {work:?} instead of to {expected:?}")
        });
    }

    /// Reports a build that failed while the manifest was missing.
    pub(super) fn report_unclear_build(&mut self) {
        let unclear = self.unclear.take();
        let is_due = unclear.is_some_and(|(_, until)| until <= self.now);
        self.watch.rule(is_due, || "a failed build is reported at the wrong time".into());
        if let Some((source, _)) = unclear {
            self.watch.source_fails(source);
            self.step(Input::UnclearBuildFailed("the source does not compile".into()));
        }
    }

    /// Simulates a command to roll back, to a given version or to the previous version.
    fn roll_back(&mut self) {
        let to = match self.served.len() {
            known @ 1.. if self.dice.chance(1, 3) => {
                Some(self.served[self.dice.below(known as u64) as usize])
            }
            _ => None,
        };
        self.watch.unwatched();
        let last = self.watch.last;
        let expected = last.map(|last| (last.generation, to.or_else(|| self.earlier(last.digest))));
        let work = self.step(Input::RollBack(to));
        let Some(Work::RollBack(target)) = work else {
            return self.watch.rule(false, || format!("a rollback leads to {work:?}"));
        };
        let is_so = target
            == match expected {
                None => Rollback::NotRunning,
                Some((_, None)) => Rollback::NothingEarlier,
                Some((from, Some(digest))) => Rollback::To { from, digest },
            };
        self.watch.rule(is_so, || format!("a rollback leads to {target:?} instead of to {expected:?}"));
        if let Rollback::To { digest, .. } = target {
            let manifest = self.machine.manifest().clone();
            self.install((digest, manifest), How::WentBack);
            self.watch.is_chosen();
        }
    }

    /// Simulates events during work that must not be interrupted, and checks that the lifecycle requests no other work.
    pub(super) fn takes_time(&mut self) {
        while !self.calm && self.dice.chance(1, 3) {
            self.happens();
            self.hear();
            let work = match self.inbox.pop_front() {
                Some(ticket) if self.dice.chance(1, 4) => {
                    let kind = self.commands[&ticket].kind();
                    self.step(Input::Command(ticket, kind))
                }
                Some(ticket) => {
                    self.inbox.push_front(ticket);
                    None
                }
                None => self.step(Input::Due),
            };
            self.watch.rule(work.is_none(), || format!("{work:?} is requested during other work"));
        }
    }

    pub(super) fn count_calls(&mut self) -> Input {
        let total = self.dice.below(20);
        let failed = if self.calm { 0 } else { self.dice.below(total + 1) };
        let earlier = self.watch.last.and_then(|last| self.earlier(last.digest));
        self.watch.counted(self.now, (total, failed), earlier);
        Input::Calls { total, failed }
    }

    /// The latest artifact that first served before this artifact first served, and was not rolled back.
    pub(super) fn earlier(&self, digest: Digest) -> Option<Digest> {
        let at = self.served.iter().position(|it| *it == digest).unwrap_or(self.served.len());
        self.served[..at].iter().rfind(|it| !self.taken_back.contains(it)).copied()
    }
}
