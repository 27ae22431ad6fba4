//! Artifacts that have crashed: which of them are recorded, and where they may run after that.

use super::{Config, Death, Effect, Lifecycle};
use crate::{id::Digest, manifest::Mode};
use std::collections::VecDeque;

/// Whether plugins can run in child processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processes {
    Possible,
    Impossible,
}

/// Where an artifact runs that is recorded as crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterCrash {
    /// In a child process.
    Outside,
    /// Nowhere, until a user starts the plugin.
    Nowhere,
}

impl AfterCrash {
    /// Where a crashed artifact of a plugin with this mode runs.
    pub(crate) fn of(mode: Mode, processes: Processes) -> Self {
        match (mode, processes) {
            (Mode::Process, _) | (Mode::Auto, Processes::Possible) => Self::Outside,
            _ => Self::Nowhere,
        }
    }
}

/// A stored version, and what is recorded about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredVersion {
    pub(crate) digest: Digest,
    pub(crate) is_quarantined: bool,
    /// Whether the artifact is recorded as crashed.
    pub(crate) has_crashed: bool,
    /// The configuration that the version has accepted. `None` if this was not recorded.
    pub(crate) accepted: Option<Config>,
}

impl Lifecycle {
    /// Where a crashed artifact runs, according to the manifest in force.
    pub(super) fn after_crash(&self) -> AfterCrash {
        AfterCrash::of(self.policy.mode, self.processes)
    }

    /// The stored versions that may run. If the build of the source results in one of the other versions, the attempt
    /// to install it reports why it must not run.
    pub(super) fn that_may_run(&self, mut stored: Vec<StoredVersion>) -> VecDeque<StoredVersion> {
        let has_place =
            |version: &StoredVersion| !version.has_crashed || self.after_crash() == AfterCrash::Outside;
        stored.retain(|version| !version.is_quarantined && has_place(version));
        stored.into()
    }

    /// Records a crash in a child process, so that the artifact is not loaded into the host's process. No effect if a
    /// crash of the artifact is already recorded, or if the mode is not `auto`.
    pub(super) fn demotion(&self, death: &Death) -> Option<Effect> {
        let demotes = self.policy.mode == Mode::Auto && !death.has_crashed;
        let (digest, signal) = (death.version.digest, death.exit.signal.clone());
        demotes.then_some(Effect::Demote { digest, signal })
    }

    /// The effects that end a quarantine when a user starts the plugin. `quarantined`: a version is quarantined.
    /// `crashed`: an artifact is recorded as crashed. If such an artifact can run in a child process, it stays recorded,
    /// and runs there.
    pub(super) fn lifts(&self, (quarantined, crashed): (bool, bool)) -> Vec<Effect> {
        let lifts_crashes = crashed && self.after_crash() == AfterCrash::Nowhere;
        let quarantine = quarantined.then_some(Effect::LiftQuarantine);
        quarantine.into_iter().chain(lifts_crashes.then_some(Effect::LiftDemotions)).collect()
    }
}
