//! The versions that have passed their trial in this host. They are not tried again at a restart, a rollback, or a
//! start after a stop.
//!
//! Only passed trials are recorded. A failure may have had a temporary cause, such as a port in use or a full disk, so
//! the next attempt runs the trial again. Verdicts are not written to disk, because a later host may be another
//! program, with another version of `replug-api`, on a machine that has changed.

use crate::{
    id::{Digest, PluginId},
    load::process::TrialReport,
    manifest::{EnvVar, LimitsSpec, Manifest, Trial},
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// The maximum number of verdicts of one plugin: more than the versions that are usually kept for rollbacks. The oldest
/// verdict is dropped first.
const KEPT: usize = 16;

/// The passed trials.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    passed: Mutex<BTreeMap<PluginId, VecDeque<(Tried, TrialReport)>>>,
}

/// Everything that affects the result of a trial that restores no state. A trial that restores a state is always run,
/// because the same state rarely occurs twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tried {
    plugin: PluginId,
    digest: Digest,
    kind: Trial,
    /// `[config]` as JSON.
    config: String,
    limits: LimitsSpec,
    /// The environment of the version's own process; `None` if the version will run in the host's process.
    env: Option<Vec<EnvVar>>,
}

impl Tried {
    /// The key for a version that will run in a child process with the variables `env`, or in the host's process if
    /// `env` is `None`.
    pub(crate) fn new(digest: Digest, manifest: &Manifest, env: Option<&[EnvVar]>) -> Self {
        Self {
            plugin: manifest.id.clone(),
            digest,
            kind: manifest.reload.preflight,
            config: manifest.config_json(),
            limits: manifest.limits,
            env: env.map(<[_]>::to_vec),
        }
    }
}

impl Verdicts {
    /// The report of the trial, if the same trial has passed before.
    pub(crate) fn of(&self, tried: &Tried) -> Option<TrialReport> {
        self.passed
            .lock()
            .get(&tried.plugin)?
            .iter()
            .find(|(known, _)| known == tried)
            .map(|(_, found)| *found)
    }

    /// Records that the version has passed its trial.
    pub(crate) fn note(&self, tried: Tried, found: TrialReport) {
        let mut passed = self.passed.lock();
        let of_plugin = passed.entry(tried.plugin.clone()).or_default();
        of_plugin.retain(|(known, _)| *known != tried);
        if of_plugin.len() == KEPT {
            of_plugin.pop_front();
        }
        of_plugin.push_back((tried, found));
    }

    /// Removes the verdict of a version that has passed its trial but failed to start. The next attempt runs the trial
    /// again.
    pub(crate) fn forget(&self, tried: &Tried) {
        if let Some(of_plugin) = self.passed.lock().get_mut(&tried.plugin) {
            of_plugin.retain(|(known, _)| known != tried);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::CgroupUse;

    const FOUND: TrialReport = TrialReport { panic_unwinds: true };

    fn tried(digest: u8, config: &str) -> Tried {
        let plugin = "dev.test.verdict".parse().unwrap();
        let (digest, config) = (Digest([digest; 32]), config.into());
        Tried { plugin, digest, kind: Trial::Full, config, limits: LimitsSpec::default(), env: None }
    }

    #[test]
    fn a_verdict_applies_to_an_equal_trial_until_it_is_removed() {
        let verdicts = Verdicts::default();
        verdicts.note(tried(1, "{}"), FOUND);
        assert_eq!(verdicts.of(&tried(1, "{}")), Some(FOUND));
        assert!(verdicts.of(&tried(2, "{}")).is_none());
        assert!(verdicts.of(&tried(1, "{\"a\":1}")).is_none());
        assert!(verdicts.of(&Tried { kind: Trial::Load, ..tried(1, "{}") }).is_none());
        let limits = LimitsSpec { cgroup: CgroupUse::Off, ..LimitsSpec::default() };
        assert!(verdicts.of(&Tried { limits, ..tried(1, "{}") }).is_none());
        assert!(
            verdicts.of(&Tried { env: Some(Vec::new()), ..tried(1, "{}") }).is_none(),
            "a child process needs a trial of its own"
        );
        verdicts.forget(&tried(1, "{}"));
        assert!(verdicts.of(&tried(1, "{}")).is_none());
    }

    #[test]
    fn the_oldest_verdict_of_a_plugin_is_dropped_at_its_maximum() {
        let verdicts = Verdicts::default();
        let other = Tried { plugin: "dev.test.other".parse().unwrap(), ..tried(0, "{}") };
        verdicts.note(other.clone(), FOUND);
        let of = |number: usize| tried(0, &number.to_string());
        (0..=KEPT).for_each(|number| verdicts.note(of(number), FOUND));
        assert!(verdicts.of(&of(0)).is_none());
        assert!(verdicts.of(&of(1)).is_some() && verdicts.of(&of(KEPT)).is_some());
        assert_eq!(verdicts.of(&other), Some(FOUND), "another plugin has a maximum of its own");
    }
}
