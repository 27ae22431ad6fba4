//! The rules about deaths (unexpected exits of processes): which versions may run again, and when.

use super::{Expected, Watch};
use crate::{
    id::Digest,
    lifecycle::{Confirm, Policy, VersionId},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

impl Watch {
    /// Records a death that is about to be reported to the lifecycle.
    pub(in super::super) fn died(&mut self, now: Instant, of: (VersionId, bool), earlier: Option<Digest>) {
        let (version, leaves_gap) = of;
        if self.current != Some(version) {
            return;
        }
        let was_watched = self.unproven.take().is_some() && self.builds.is_none();
        if !leaves_gap {
            return;
        }
        self.current = None;
        if !self.is_wanted {
            return;
        }
        match earlier.filter(|_| was_watched) {
            Some(earlier) => self.restart = Some((earlier, now, Some(version))),
            None => self.failed(now, version.digest),
        }
    }

    /// Counts a failure, and computes the expected restart or quarantine.
    fn failed(&mut self, now: Instant, digest: Digest) {
        let Policy { restart_pause, max_deaths, death_window, .. } = self.policy();
        self.failures.push((digest, now));
        self.failures.retain(|(_, at)| *at + death_window > now);
        let count = self.failures.len() as u32;
        if u64::from(count) >= max_deaths {
            self.expected = Some(Expected::Quarantine(digest));
            return;
        }
        let longest = Duration::from_secs(60).max(restart_pause);
        let pause = (restart_pause * 2_u32.pow(count - 1)).min(longest);
        self.restart = Some((digest, now + pause, None));
    }

    pub(in super::super) fn is_quarantined(&mut self, digest: Digest, tried: Option<u8>) {
        let expected = self.expected.take();
        let is_so = expected == Some(Expected::Quarantine(digest));
        self.rule(is_so, || format!("{digest:?} is quarantined, but expected is {expected:?}"));
        self.is_up = false;
        if !self.source_is_wrong {
            (self.source_is_wrong, self.explained) = (true, tried);
        }
    }

    pub(in super::super) fn restarts(
        &mut self,
        (now, digest): (Instant, Digest),
        goes_back: bool,
        quarantined: &BTreeSet<Digest>,
    ) {
        self.rule(self.is_wanted, || "a stopped plugin is restarted".into());
        let restart = self.restart.take();
        let is_due = restart.is_some_and(|(what, due, _)| what == digest && due <= now);
        self.rule(is_due, || format!("{digest:?} is restarted, but expected is {restart:?}"));
        self.taken_back = restart.and_then(|(.., died)| died);
        self.rule(goes_back == self.taken_back.is_some(), || {
            format!("the restart is a rollback: {goes_back}")
        });
        let may_run = goes_back || !quarantined.contains(&digest);
        self.rule(may_run, || format!("the quarantined {digest:?} is restarted"));
    }

    pub(in super::super) fn restarted(&mut self, now: Instant, digest: Digest, serves: bool) {
        if !serves {
            let died = self.taken_back.take().map_or(digest, |version| version.digest);
            self.failed(now, died);
        }
    }

    pub(in super::super) fn counted(
        &mut self,
        now: Instant,
        (total, failed): (u64, u64),
        earlier: Option<Digest>,
    ) {
        let is_due = self.unproven.is_some() && self.builds.is_none();
        self.rule(is_due, || "a version that is not watched is judged".into());
        let Some(Confirm { max_error_rate, min_calls, .. }) = self.policy().confirm else { return };
        if total >= min_calls && failed as f64 > max_error_rate * total as f64 {
            self.unproven = None;
            self.expected = Some(earlier.map_or(Expected::NothingEarlier, Expected::GoBack));
        } else if self.unproven.is_some_and(|until| until <= now) {
            self.expected = Some(Expected::Trust);
        }
    }
}
