//! What the worker does, as far as the lifecycle has asked for it: it builds, lets versions serve, or fails to.

use super::{Order, World, digest, policy};
use crate::{
    id::Digest,
    lifecycle::{Aim, Compiled, Input, Next, Rollback, Ticket, Work},
    record::How,
};
use std::time::Duration;

impl World {
    pub(super) fn carry_out(&mut self, ticket: Ticket) {
        let order = self.orders[&ticket];
        self.watch.note(|| format!("carried out: {order:?}, {ticket:?}"));
        match order {
            Order::Stop => self.stop(),
            Order::Policy => {
                self.policy = policy(&mut self.dice);
                self.watch.follows(self.policy);
                self.step(Input::Accepted(self.policy));
            }
            Order::Save => {
                if self.machine.is_wanted() {
                    self.rebuild(Aim::Update);
                }
            }
            Order::Reload => {
                self.watch.wanted();
                self.step(Input::Wanted);
                self.rebuild(Aim::Renew);
            }
            Order::Start => {
                self.watch.wanted();
                self.step(Input::Wanted);
                self.quarantined.clear();
                if self.serves.is_some() && self.tried == Some(self.source) {
                    return;
                }
                if self.serves.is_none() {
                    self.watch.pardoned();
                    self.step(Input::Pardoned);
                    self.start();
                } else {
                    self.rebuild(Aim::Renew);
                }
            }
            Order::Rollback => self.roll_back(),
            Order::Configure => self.configure(),
            Order::Edit => {
                if self.edit() == Next::Build && self.machine.is_wanted() {
                    self.rebuild(Aim::Update);
                }
            }
        }
    }

    /// Builds as the lifecycle says, and lets the result serve. Returns whether it does.
    pub(super) fn rebuild(&mut self, aim: Aim) -> bool {
        self.unclear = None;
        self.watch.builds(aim);
        let mut work = self.step(Input::Build(aim));
        // What the source was when it was last read, and what came of it.
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
                Some(Work::EndBuild(aim)) => {
                    return self.built((aim, read), is_good);
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

    /// Something of a build takes its time. If it comes to another end than its own, what is done then.
    fn waits(&mut self, read: &mut u8) -> Option<Work> {
        let mut length = if self.calm { 0 } else { self.dice.below(3) };
        while length > 0 || !self.inbox.is_empty() {
            length = length.saturating_sub(1);
            if !self.calm {
                self.happens();
            }
            self.hear();
            if !self.calm && self.dice.chance(1, 16) {
                self.edit();
            }
            let mut work = None;
            if let Some(ticket) = self.inbox.pop_front() {
                work = self.drive(Input::Order(ticket, self.orders[&ticket].request()));
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

    /// A build has come to its end.
    fn built(&mut self, (aim, read): (Aim, u8), is_good: bool) -> bool {
        self.watch.build_ends(aim);
        self.tried = Some(read);
        if !is_good && self.dice.chance(1, 4) {
            let until = self.now + Duration::from_millis(300);
            self.unclear = Some((read, until));
            self.step(Input::BuildUnclear { until });
            return false;
        }
        if !is_good {
            self.build_fails(read);
            return false;
        }
        if self.serves.is_none_or(|serves| serves.digest != digest(read)) || aim == Aim::Renew {
            return self.install(digest(read), How::Built);
        }
        self.watch.newest_serves();
        self.step(Input::Unchanged);
        true
    }

    fn build_fails(&mut self, source: u8) {
        self.watch.source_fails(source);
        self.step(Input::BuildFailed("it does not compile".into()));
    }

    /// It is clear by now whether the plugin is gone.
    pub(super) fn report_unclear_build(&mut self) {
        let unclear = self.unclear.take();
        let is_due = unclear.is_some_and(|(_, until)| until <= self.now);
        self.watch.rule(is_due, || "a build that failed is reported at the wrong time".into());
        if let Some((source, _)) = unclear {
            self.build_fails(source);
        }
    }

    /// Someone asks for the plugin to go back, to a certain version or to the one before.
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
            return self.watch.rule(false, || format!("of a rollback comes {work:?}"));
        };
        let is_so = target
            == match expected {
                None => Rollback::NotRunning,
                Some((_, None)) => Rollback::NothingEarlier,
                Some((from, Some(digest))) => Rollback::To { from, digest },
            };
        self.watch.rule(is_so, || format!("a rollback leads to {target:?}, and not to {expected:?}"));
        if let Rollback::To { digest, .. } = target {
            self.install(digest, How::WentBack);
            self.watch.is_chosen();
        }
    }

    /// Something takes its time, in which nothing else is to be done, whatever happens.
    pub(super) fn takes_time(&mut self) {
        while !self.calm && self.dice.chance(1, 3) {
            self.happens();
            self.hear();
            let work = match self.inbox.pop_front() {
                Some(ticket) if self.dice.chance(1, 4) => {
                    let request = self.orders[&ticket].request();
                    self.step(Input::Order(ticket, request))
                }
                Some(ticket) => {
                    self.inbox.push_front(ticket);
                    None
                }
                None => self.step(Input::Due),
            };
            self.watch.rule(work.is_none(), || format!("{work:?} is done while something else is"));
        }
    }

    pub(super) fn count_calls(&mut self) -> Input {
        let total = self.dice.below(20);
        let failed = if self.calm { 0 } else { self.dice.below(total + 1) };
        let earlier = self.watch.last.and_then(|last| self.earlier(last.digest));
        self.watch.counted(self.now, (total, failed), earlier);
        Input::Calls { total, failed }
    }

    /// What served before this artifact first did.
    pub(super) fn earlier(&self, digest: Digest) -> Option<Digest> {
        let at = self.served.iter().position(|it| *it == digest).unwrap_or(self.served.len());
        at.checked_sub(1).map(|before| self.served[before])
    }
}
