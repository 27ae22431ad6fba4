//! Simulated installations: versions that start, reject their state, or are replaced by the previous version again.

use super::{Store, World, texts::Says};
use crate::{
    id::{Digest, Generation},
    lifecycle::{
        Because, BeginsWith, FailureReport, Input, Installation, NotInstalled, Placement, ReportTime,
        VersionId, Work,
    },
    manifest::Manifest,
    record::How,
};
use std::sync::Arc;

/// A version that was stopped to make room, and the state that it has saved.
#[derive(Clone, Copy, Debug)]
struct Stopped {
    version: VersionId,
    state: Option<u64>,
}

impl World {
    /// Simulates the installation of an artifact. Returns whether it serves.
    pub(super) fn install(&mut self, (digest, manifest): (Digest, Arc<Manifest>), how: How) -> bool {
        let replaces = self.serves.is_some();
        let installation = Installation { how, manifest: manifest.clone(), replaces };
        let mut work = self.step(Input::Install(installation));
        let (mut attempts, mut gave_up) = (0, false);
        let mut stopped: Option<Stopped> = None;
        // Whether the version that was stopped to make room is being started again.
        let mut returns = false;
        loop {
            let mut is_excluded = false;
            if let Some(Work::Install(_, after) | Work::BringBack(after)) = &work {
                let mode = if returns { self.policy.mode } else { manifest.mode };
                is_excluded = self.is_excluded(digest, (mode, *after)) && !returns;
            }
            let state = match work {
                Some(Work::Install(BeginsWith::Kept, _)) => {
                    let is_kept = self.watch.promised.is_some();
                    self.watch
                        .rule(is_kept, || "a version begins with a state that no stop has saved".into());
                    self.kept()
                }
                Some(Work::Install(BeginsWith::Checkpoint, _)) => self.store.saved,
                Some(Work::Install(BeginsWith::Nothing, _)) => None,
                Some(Work::BringBack(_)) => stopped.and_then(|stopped| stopped.state),
                _ => {
                    let ended = matches!(work, Some(Work::EndInstall(_)));
                    self.watch.rule(ended, || format!("{work:?} in an installation"));
                    return false;
                }
            };
            attempts += 1;
            self.begins_with(state, (replaces, gave_up), stopped.filter(|_| returns));
            let digest_now = stopped.filter(|_| returns).map_or(digest, |stopped| stopped.version.digest);
            let is_new = how == How::Built;
            let failed = match self.attempt((digest_now, returns, is_excluded), state, &mut stopped) {
                Ok(version) if returns => {
                    let follows = self.machine.manifest().clone();
                    self.comes_up((version, How::Again), (false, &follows), Some((is_new, digest)));
                    return false;
                }
                Ok(version) => {
                    self.comes_up((version, how), (replaces, &manifest), None);
                    return true;
                }
                Err(failed) => failed,
            };
            // A rejected state is discarded, unless a serving generation still has the state, or the state was saved at
            // a stop.
            let may_give_up = returns || !replaces && self.watch.promised.is_none();
            let gives_up = may_give_up && failed.because == Because::StateRefused && !gave_up;
            let makes_room = stopped.is_some() && !returns && !gives_up;
            self.watch.may_give_up = gives_up;
            if !gives_up && !makes_room {
                if returns {
                    self.watch.lost();
                }
                self.fails(is_new, digest);
            }
            self.unfit = Some((digest, is_new))
                .filter(|_| failed.because == Because::ConfigRefused && !returns && !makes_room);
            let report = match failed.is_announced {
                _ if returns => ReportTime::Now,
                true => ReportTime::ByHost,
                false => self.report_time(is_new),
            };
            self.check_report();
            work = self.step(Input::NotInstalled(failed));
            let is_so = match &work {
                Some(Work::Install(..)) => gives_up,
                Some(Work::BringBack(_)) => makes_room,
                Some(Work::EndInstall(time)) => !makes_room && !gives_up && *time == report,
                _ => false,
            };
            self.watch.rule(is_so, || {
                format!("{work:?} after attempt {attempts}; gives up: {gives_up}, makes room: {makes_room}")
            });
            let is_left = std::mem::take(&mut self.watch.may_give_up);
            self.watch.rule(!is_left, || "a rejected state is not discarded".into());
            (gave_up, returns) = (gave_up || gives_up, returns || makes_room);
            if let Some(Work::EndInstall(time)) = work {
                self.watch.is_on_the_way = false;
                self.watch.is_reported(time);
            }
        }
    }

    /// Simulates where the serving version runs.
    fn is_placed(&mut self) {
        let placements = [Placement::AsRequested, Placement::AfterCrash, Placement::Moved];
        let placement = placements[self.dice.below(3) as usize];
        self.watch.reports_move = placement == Placement::Moved && !self.is_moved;
        self.is_moved = placement != Placement::AsRequested;
        self.step(Input::Placed(placement));
    }

    /// Checks what the report of a failure has to name now.
    pub(super) fn check_report(&mut self) {
        let by_command = self.configuring == Some(true);
        let expected = FailureReport {
            is_of_configuration: self.configuring.is_some(),
            explains_outage: !by_command,
            names_file: !by_command,
            names_line: !by_command && self.watch.overridden.is_none(),
        };
        let is = self.machine.failure_report();
        self.watch.rule(is == expected, || format!("a failure is reported as {is:?}, not as {expected:?}"));
    }

    /// Records that a version failed to start.
    fn fails(&mut self, is_new: bool, digest: Digest) {
        if is_new {
            self.watch.source_fails(digest.0[0]);
        } else if self.serves.is_none() {
            self.watch.is_down(self.source);
        }
    }

    /// The state that was saved at the last stop, if it can be read.
    fn kept(&mut self) -> Option<u64> {
        if !self.calm && self.dice.chance(1, 16) {
            self.store = Store { saved: None, is_noted: false, ..self.store };
            self.watch.promised = None;
            self.step(Input::StateLost);
        }
        self.store.saved
    }

    /// Checks the state with which an instance begins.
    fn begins_with(&mut self, state: Option<u64>, (replaces, gave_up): (bool, bool), back: Option<Stopped>) {
        let expected = match back {
            _ if gave_up => None,
            Some(stopped) => stopped.state,
            // The serving generation hands its state over.
            None if replaces => return,
            None => self.watch.promised.or(self.store.saved.filter(|_| self.policy.checkpoint.is_some())),
        };
        self.watch
            .rule(state == expected, || format!("a version begins with {state:?} instead of {expected:?}"));
    }

    /// Simulates one attempt to start a version.
    fn attempt(
        &mut self,
        (digest, returns, is_excluded): (Digest, bool, bool),
        state: Option<u64>,
        stopped: &mut Option<Stopped>,
    ) -> Result<VersionId, NotInstalled> {
        self.generations += 1;
        let version = VersionId { generation: Generation(self.generations), digest };
        self.takes_time();
        let has_state = state.is_some() || self.serves.is_some() && self.stateful;
        let because = match self.dice.below(4) {
            0 if has_state => Because::StateRefused,
            1 => Because::ConfigRefused,
            2 => Because::KeptOut,
            _ => Because::Other,
        };
        let mut failed = NotInstalled {
            text: self.faults.text("the version does not start"),
            artifact: Some(digest),
            because,
            made_room: false,
            is_announced: because == Because::KeptOut && self.dice.chance(1, 2),
        };
        if is_excluded {
            failed.because = Because::KeptOut;
            return Err(failed);
        }
        if self.crashes.may_happen(self.policy.mode) && !self.calm && self.dice.chance(1, 16) {
            // The process of the version ends before the version serves.
            self.deaths.push_back((version, false));
            return Err(failed);
        }
        let fails = !self.calm && self.dice.chance(1, if returns { 2 } else { 4 });
        let stops_first = self.serves.is_some() && self.dice.chance(1, 4);
        if self.quarantined.contains(&digest) && !returns || fails && !stops_first {
            return Err(failed);
        }
        if stops_first && let Some(version) = self.serves.take() {
            self.watch.is_on_the_way = true;
            let state = self.stateful.then(|| self.store.fresh());
            *stopped = Some(Stopped { version, state });
        }
        self.takes_time();
        if fails {
            failed.made_room = true;
            return Err(failed);
        }
        Ok(version)
    }

    /// Records that a version serves. If the version was started again because another version has failed, `failed`
    /// describes the other version: whether it was built, and its artifact.
    fn comes_up(
        &mut self,
        (version, how): (VersionId, How),
        (replaces, follows): (bool, &Arc<Manifest>),
        failed: Option<(bool, Digest)>,
    ) {
        let may_die = self.crashes.may_happen(self.policy.mode);
        if let Some(before) = self.serves.filter(|_| may_die && !self.calm && self.dice.chance(1, 8)) {
            // The process of the previous version ends before its successor serves, and the worker receives the death
            // after that.
            self.deaths.push_back((before, true));
        }
        (self.serves, self.watch.is_on_the_way) = (Some(version), true);
        if self.dice.chance(1, 2) {
            self.hear();
        }
        self.watch.is_on_the_way = false;
        // The version may have been quarantined while it was being started.
        self.quarantined.remove(&version.digest);
        if !self.served.contains(&version.digest) {
            self.served.push(version.digest);
        }
        while self.served.len() > self.keeps {
            let oldest = self.served.iter().position(|digest| *digest != version.digest);
            self.served.remove(oldest.unwrap_or(0));
        }
        let is_unconfirmed = self.good.is_some_and(|good| good != version.digest);
        let unproven = match how {
            How::Built => replaces || is_unconfirmed,
            How::Again => is_unconfirmed,
            How::WentBack => false,
        };
        self.accepted = Some((version.digest, Says::of(follows).config));
        self.rollbacks.serves(version.digest, how);
        self.stateful = self.dice.chance(1, 2);
        self.is_fixed = self.dice.chance(1, 2);
        let newest = how == How::Built;
        // If the version follows the manifest in force, a pending manifest stays pending.
        if !Arc::ptr_eq(follows, self.machine.manifest()) {
            self.accepts(Says::of(follows));
        }
        self.watch.serves((self.now, version, self.stateful), (unproven, newest));
        if let Some((is_new, digest)) = failed {
            self.fails(is_new, digest);
        }
        self.store.is_noted = false;
        let history = self.served.clone();
        self.step(Input::Served { version, stateful: self.stateful, history });
        self.is_placed();
        let (is_saved, saved) = (self.stateful && self.policy.checkpoint.is_some(), self.store.saved);
        self.watch
            .rule(is_saved || saved.is_none(), || format!("the handed-over state {saved:?} is still saved"));
        if !self.calm && self.dice.chance(1, 8) {
            self.kill();
        }
    }
}
