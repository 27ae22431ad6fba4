//! The simulated work of the worker: commands, builds and rollbacks, with random results.

use super::{Command, World, starts::By};
use crate::{
    id::Digest,
    lifecycle::{Aim, Input, Reading, Rollback, Ticket, Work},
    record::How,
};
use std::{path::PathBuf, sync::Arc};

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
                (self.unclear, self.is_unread_since_move) = (None, true);
                let root = PathBuf::from(format!("/moved/{}", ticket.0));
                self.step(Input::Moved { root: root.clone(), file: "/plugin/plugin.toml".into() });
                let manifests = [self.machine.manifest(), self.machine.latest_manifest()];
                let are_moved = manifests.iter().all(|manifest| manifest.root == root);
                self.watch.rule(are_moved, || format!("a manifest is not moved to {root:?}"));
                let next = self.edit(Reading::Moved);
                self.follow_up(next);
            }
            Command::Save => {
                self.change_is_carried_out(ticket);
            }
            Command::Reload => {
                self.user_wants();
                self.rebuild(Aim::Renew);
            }
            Command::Start => self.start_by_command(),
            Command::HostStart => self.start_by_host(),
            Command::Rollback => self.roll_back(),
            Command::Configure => self.configure(),
            Command::Edit => self.change_is_carried_out(ticket),
        }
    }

    /// Simulates a command to start.
    fn start_by_command(&mut self) {
        self.user_wants();
        let (serves, quarantined) = (self.serves.is_some(), !self.quarantined.is_empty());
        let crashed = self.crashes.are_known();
        let lifts_crashes = crashed && self.crashes.exclude(self.policy.mode);
        let quarantine_lifted = quarantined || lifts_crashes;
        let is_hindered = quarantine_lifted && self.machine.faults().of_source();
        let expected = match (is_hindered, serves) {
            (true, _) => Work::BuildSource,
            (false, true) => Work::EndStart,
            (false, false) => Work::BringUp,
        };
        if expected != Work::EndStart {
            self.watch.quarantine_lifted();
        }
        let work = self.step(Input::StartAsked { serves, quarantined, crashed });
        let is_lifted =
            self.quarantined.is_empty() && self.crashes.are_known() == (crashed && !lifts_crashes);
        self.watch
            .rule(is_lifted, || "a start does not end exactly the quarantines that it has to end".into());
        match &work {
            Some(Work::BuildSource) => {
                self.rebuild(Aim::Renew);
            }
            Some(Work::BringUp) => self.start(By::Command),
            _ => {}
        }
        self.watch.rule(work.as_ref() == Some(&expected), || {
            format!("a start leads to {work:?} instead of to {expected:?}")
        });
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

    /// The latest artifact that first served before this artifact first served, and that `confirm` has not rolled back.
    pub(super) fn earlier(&self, digest: Digest) -> Option<Digest> {
        let at = self.served.iter().position(|it| *it == digest).unwrap_or(self.served.len());
        self.served[..at].iter().rfind(|it| !self.taken_back.contains(it)).copied()
    }
}
