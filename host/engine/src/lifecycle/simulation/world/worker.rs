//! What the worker does, as far as the lifecycle has asked for it: it builds, lets versions serve, or fails to.

use super::{Order, World, digest, policy};
use crate::{
    id::{Digest, Generation},
    lifecycle::{Aim, Compiled, Input, Next, Refusal, Refused, Ticket, Version, Work},
    record::How,
};
use std::time::Duration;

impl World {
    pub(super) fn carry_out(&mut self, ticket: Ticket) {
        let order = self.orders[&ticket];
        self.watch.note(|| format!("carried out: {order:?}, {ticket:?}"));
        match order {
            Order::Stop => {
                self.hear();
                (self.serves, self.unclear) = (None, None);
                self.watch.stopped();
                self.step(Input::Stopped);
            }
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
            Order::Rollback => {
                self.watch.unwatched();
                self.step(Input::Unwatched);
                if let Some(to) = self.machine.last().and_then(|last| self.earlier(last.digest)) {
                    self.install(to, How::WentBack);
                    self.watch.is_chosen();
                }
            }
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

    /// An artifact did not come to serve.
    fn refuse(&mut self, digest: Digest, is_new: bool) {
        let what = if is_new {
            self.watch.source_fails(digest.0[0]);
            Refused::Newest { artifact: Some(digest), is_unfit: self.dice.chance(1, 4) }
        } else {
            if self.serves.is_none() {
                self.watch.is_down(self.source);
            }
            Refused::Other
        };
        self.step(Input::Refused(Refusal { text: "it does not come up".into(), what }));
    }

    /// Lets an artifact serve, or fails to.
    pub(super) fn install(&mut self, digest: Digest, how: How) -> bool {
        let is_new = how == How::Built;
        self.generations += 1;
        let version = Version { generation: Generation(self.generations), digest };
        self.takes_time();
        let stops_first = self.serves.is_some() && self.dice.chance(1, 4);
        let fails = !self.calm && self.dice.chance(1, 4);
        if self.quarantined.contains(&digest) || fails && !stops_first {
            self.refuse(digest, is_new);
            return false;
        }
        let before = self.serves;
        if stops_first {
            self.watch.is_on_the_way = true;
            self.serves = None;
        }
        self.takes_time();
        let came_up = match (fails, before) {
            (false, _) => Some(version),
            (true, Some(before)) if self.dice.chance(1, 2) => {
                self.generations += 1;
                Some(Version { generation: Generation(self.generations), ..before })
            }
            (true, _) => None,
        };
        if let Some(before) = self.serves.filter(|_| !self.calm && self.dice.chance(1, 8)) {
            // Its process ends before its successor serves, and is heard of after that.
            self.deaths.push_back((before, true));
        }
        (self.serves, self.watch.is_on_the_way) = (came_up, true);
        if self.dice.chance(1, 2) {
            self.hear();
        }
        self.watch.is_on_the_way = false;
        let Some(serves) = came_up else {
            self.watch.lost();
            self.step(Input::Lost);
            self.refuse(digest, is_new);
            return false;
        };
        // It may have been quarantined while it was started.
        self.quarantined.remove(&serves.digest);
        if !self.served.contains(&serves.digest) {
            self.served.push(serves.digest);
        }
        // One that has to come up again is no other than before.
        let how = if fails { How::Again } else { how };
        let is_unconfirmed = self.good.is_some_and(|good| good != serves.digest);
        let unproven = match how {
            How::Built => before.is_some() || is_unconfirmed,
            How::Again => is_unconfirmed,
            How::WentBack => false,
        };
        let stateful = self.dice.chance(1, 2);
        let newest = is_new && !fails;
        if newest && self.watch.is_pending {
            self.watch.is_on_the_way = true;
            self.accept();
            self.watch.is_on_the_way = false;
        }
        self.watch.serves((self.now, serves), (unproven, newest));
        let replaces = before.is_some();
        self.step(Input::Served { version: serves, stateful, how, replaces, is_unconfirmed });
        if fails {
            self.refuse(digest, is_new);
        }
        if !self.calm && self.dice.chance(1, 8) {
            self.kill();
        }
        !fails
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
        let earlier = self.machine.last().and_then(|last| self.earlier(last.digest));
        self.watch.counted(self.now, (total, failed), earlier);
        Input::Calls { total, failed, earlier }
    }

    /// What served before this artifact first did.
    pub(super) fn earlier(&self, digest: Digest) -> Option<Digest> {
        let at = self.served.iter().position(|it| *it == digest).unwrap_or(self.served.len());
        at.checked_sub(1).map(|before| self.served[before])
    }
}
