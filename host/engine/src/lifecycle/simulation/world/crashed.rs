//! Which simulated artifacts have crashed or were rolled back, and the rules about them.

use super::{Dice, World, texts::Says};
use crate::{
    id::Digest,
    lifecycle::{AfterCrash, Config, Death, Exit, Input, Processes, StoredVersion},
    manifest::Mode,
    record::How,
};
use std::collections::BTreeSet;

/// The artifacts that are recorded as crashed.
pub(super) struct Crashes {
    processes: Processes,
    recorded: BTreeSet<Digest>,
    /// The artifact whose crash has to be recorded in the current step.
    expected: Option<Digest>,
}

impl Crashes {
    /// At random, no crash, or one crash that an earlier host has recorded.
    pub(super) fn new(processes: Processes, dice: &mut Dice) -> Self {
        let crashed = super::digest(dice.below(6) as u8);
        let recorded = dice.chance(1, 2).then_some(crashed).into_iter().collect();
        Self { processes, recorded, expected: None }
    }

    pub(super) fn have(&self, digest: Digest) -> bool {
        self.recorded.contains(&digest)
    }

    /// Whether the process of a version can end. It cannot if the version runs in the host's process: with the mode
    /// `in-process`, and with the mode `auto` if there are no child processes.
    pub(super) fn may_happen(&self, mode: Mode) -> bool {
        mode == Mode::Process || mode == Mode::Auto && self.processes == Processes::Possible
    }

    pub(super) fn are_known(&self) -> bool {
        !self.recorded.is_empty()
    }

    pub(super) fn are_lifted(&mut self) {
        self.recorded.clear();
    }

    /// Whether a plugin with this mode must not run an artifact that has crashed.
    pub(super) fn exclude(&self, mode: Mode) -> bool {
        mode == Mode::InProcess || mode == Mode::Auto && self.processes == Processes::Impossible
    }
}

/// What is known about rollbacks.
#[derive(Default)]
pub(super) struct Rollbacks {
    newest: Option<Digest>,
    serving: Option<Digest>,
    /// The version that was rolled back, and must not be installed by a build that only checks the source.
    from: Option<Digest>,
}

impl Rollbacks {
    pub(super) fn serves(&mut self, digest: Digest, how: How) {
        let is_another = self.serving.replace(digest) != Some(digest);
        match how {
            How::Built => (self.newest, self.from) = (Some(digest), None),
            How::Again if is_another => self.from = None,
            How::Again => {}
            How::WentBack => self.from = self.newest.filter(|newest| *newest != digest),
        }
    }

    /// A build has resulted in the serving version.
    pub(super) fn end_with(&mut self, serving: Digest) {
        (self.newest, self.from) = (Some(serving), None);
    }

    pub(super) fn from(&self) -> Option<Digest> {
        self.from
    }
}

impl World {
    /// Ends the process of the serving version unexpectedly.
    pub(super) fn kill(&mut self) {
        if let Some(version) = self.serves.take_if(|_| self.crashes.may_happen(self.policy.mode)) {
            self.deaths.push_back((version, true));
        }
    }

    /// The worker receives the deaths.
    pub(super) fn hear(&mut self) {
        while let Some((version, has_served)) = self.deaths.pop_front() {
            let is_replaced = self.serves.is_some();
            let was_serving = has_served && (!is_replaced || self.dice.chance(1, 2));
            let mut has_crashed = self.crashes.have(version.digest);
            if has_served {
                let earlier = self.earlier(version.digest);
                self.watch.died(self.now, (version, was_serving && !is_replaced), earlier);
                has_crashed = self.dies(version.digest);
            }
            let reported = self.watch.crashes;
            let exit = Exit::default();
            self.drive(Input::Died(Death {
                version,
                exit,
                was_serving,
                has_served,
                is_replaced,
                has_crashed,
            }));
            let is_reported = self.watch.crashes > reported;
            self.watch.rule(is_reported == has_served, || {
                format!(
                    "the crash of {version:?} is reported: {is_reported}, and it has served: {has_served}"
                )
            });
            self.has_died();
        }
    }

    /// Records that the process of an artifact has ended. Returns whether a crash of the artifact is recorded already.
    fn dies(&mut self, digest: Digest) -> bool {
        let has_crashed = self.crashes.have(digest);
        self.crashes.expected = Some(digest).filter(|_| self.policy.mode == Mode::Auto && !has_crashed);
        has_crashed
    }

    /// Checks that the crash was recorded.
    fn has_died(&mut self) {
        let expected = self.crashes.expected.take();
        self.watch.rule(expected.is_none(), || format!("the crash of {expected:?} is not recorded"));
    }

    pub(super) fn is_demoted(&mut self, digest: Digest) {
        let expected = self.crashes.expected.take();
        let is_so = expected == Some(digest);
        self.watch.rule(is_so, || format!("a crash of {digest:?} is recorded instead of {expected:?}"));
        self.crashes.recorded.insert(digest);
    }

    /// Checks where an artifact that has crashed is to run. Returns whether this artifact must not run.
    pub(super) fn is_excluded(&mut self, digest: Digest, (mode, after): (Mode, AfterCrash)) -> bool {
        let excludes = self.crashes.exclude(mode);
        self.watch.rule((after == AfterCrash::Nowhere) == excludes, || {
            format!("a crashed artifact of a plugin with {mode:?} runs {after:?}")
        });
        excludes && self.crashes.have(digest)
    }

    /// The stored versions that must not be started before the source is built.
    pub(super) fn kept_out(&self) -> BTreeSet<Digest> {
        let excludes = self.crashes.exclude(self.policy.mode);
        let crashed = self.crashes.recorded.iter().filter(|_| excludes);
        crashed.chain(&self.quarantined).copied().collect()
    }

    /// The manifest's configuration with this value.
    fn config(&self, config: u64) -> Config {
        Says { config, ..self.file }.manifest().config
    }

    /// The stored versions, the best first.
    pub(super) fn stored(&self) -> Vec<StoredVersion> {
        let version = |digest: &Digest| StoredVersion {
            digest: *digest,
            is_quarantined: self.quarantined.contains(digest),
            has_crashed: self.crashes.have(*digest),
            accepted: self.accepted.filter(|(it, _)| it == digest).map(|(_, config)| self.config(config)),
        };
        self.served.iter().rev().take(2).map(version).collect()
    }
}
