//! The totals of a host's events.

use super::{Event, EventKind, RetireOutcome, Stage, Stages};
use crate::{id::PluginId, metrics::Histogram};
use parking_lot::Mutex;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// The bounds of stage durations, in seconds: from a swap that takes microseconds to a build that takes minutes.
const STAGE_BOUNDS: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0, 60.0, 300.0,
];

/// The outcome of an attempt to install a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReloadOutcome {
    /// A new generation serves.
    Reloaded,
    /// The build produced no new artifact.
    Unchanged,
    /// The build began again, because the source changed again or files of the plugin were missing.
    Superseded,
    /// The build failed.
    BuildFailed,
    /// The version was built or read from the store, but this stage rejected it.
    Refused(Stage),
}

/// The totals of one plugin since the host started.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PluginTally {
    /// The number of attempts to install a version, by outcome.
    pub reloads: BTreeMap<ReloadOutcome, u64>,
    /// The durations of each stage in successful attempts, in seconds. A stage that did not run in an attempt adds no
    /// value.
    pub stages: BTreeMap<Stage, Histogram>,
    /// The times from the save or the command until the new generation served, in seconds.
    pub reload_time: Histogram,
    /// The number of rollbacks.
    pub rollbacks: u64,
    /// The number of ended generations, by outcome.
    pub retired: BTreeMap<RetireOutcome, u64>,
    /// The number of unexpected exits of the plugin's process, by cause: a signal's name, `exit` or `disconnected`.
    pub crashes: BTreeMap<String, u64>,
    /// The number of restarts of the plugin's process, by the cause of the previous process's exit.
    pub restarts: BTreeMap<String, u64>,
    /// The number of reported panics.
    pub panics: u64,
    /// The number of times that the plugin was moved to a child process, although its manifest did not require one.
    pub demotions: u64,
    /// The number of times that the plugin was quarantined.
    pub quarantines: u64,
    #[serde(skip)]
    last_cause: Option<String>,
}

impl Default for PluginTally {
    fn default() -> Self {
        Self {
            reloads: BTreeMap::new(),
            stages: BTreeMap::new(),
            reload_time: Histogram::new(STAGE_BOUNDS),
            rollbacks: 0,
            retired: BTreeMap::new(),
            crashes: BTreeMap::new(),
            restarts: BTreeMap::new(),
            panics: 0,
            demotions: 0,
            quarantines: 0,
            last_cause: None,
        }
    }
}

/// The totals of a host's events. Cheap to clone; all clones share the same totals.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    since: SystemTime,
    plugins: Mutex<BTreeMap<PluginId, PluginTally>>,
    events_lost: AtomicU64,
}

impl Default for Inner {
    fn default() -> Self {
        Self { since: SystemTime::now(), plugins: Mutex::default(), events_lost: AtomicU64::new(0) }
    }
}

impl Tally {
    /// Counts an event.
    pub(crate) fn count(&self, event: &Event) {
        // Log events are by far the most frequent events, and no total includes them.
        if matches!(event.kind, EventKind::Log { .. }) {
            return;
        }
        if let Some(plugin) = &event.plugin {
            let mut plugins = self.inner.plugins.lock();
            match plugins.get_mut(plugin) {
                Some(tally) => tally.count(&event.kind),
                None => plugins.entry(plugin.clone()).or_default().count(&event.kind),
            }
        }
    }

    /// The time at which the counting began.
    pub fn since(&self) -> SystemTime {
        self.inner.since
    }

    /// Counts events that a slow reader lost.
    pub fn lost(&self, events: u64) {
        self.inner.events_lost.fetch_add(events, Ordering::Relaxed);
    }

    /// The number of events that all slow readers lost.
    pub fn events_lost(&self) -> u64 {
        self.inner.events_lost.load(Ordering::Relaxed)
    }

    /// The totals of a plugin.
    pub fn of(&self, plugin: &PluginId) -> PluginTally {
        self.inner.plugins.lock().get(plugin).cloned().unwrap_or_default()
    }
}

impl PluginTally {
    fn count(&mut self, kind: &EventKind) {
        match kind {
            EventKind::Reloaded { stages, total_ms, .. } => {
                self.ended(ReloadOutcome::Reloaded);
                self.note_stages(stages);
                self.reload_time.note(total_ms / 1e3);
            }
            EventKind::BuildUnchanged { .. } => self.ended(ReloadOutcome::Unchanged),
            EventKind::BuildSuperseded => self.ended(ReloadOutcome::Superseded),
            EventKind::BuildFailed { .. } => self.ended(ReloadOutcome::BuildFailed),
            EventKind::ReloadFailed { stage, .. } => self.ended(ReloadOutcome::Refused(*stage)),
            EventKind::RolledBack { .. } => self.rollbacks += 1,
            EventKind::GenerationRetired { outcome } => add(&mut self.retired, *outcome),
            EventKind::PluginCrashed { signal, exit, .. } => {
                let cause = match (signal, exit) {
                    (Some(signal), _) => signal.clone(),
                    (None, Some(_)) => "exit".to_owned(),
                    (None, None) => "disconnected".to_owned(),
                };
                add(&mut self.crashes, cause.clone());
                self.last_cause = Some(cause);
            }
            EventKind::PluginRestarted { .. } => {
                add(&mut self.restarts, self.last_cause.clone().unwrap_or_else(|| "unknown".into()));
            }
            EventKind::PluginPanicked { .. } => self.panics += 1,
            EventKind::PluginDemoted { .. } => self.demotions += 1,
            EventKind::PluginQuarantined { .. } => self.quarantines += 1,
            // The other kinds are not counted.
            _ => {}
        }
    }

    fn ended(&mut self, outcome: ReloadOutcome) {
        add(&mut self.reloads, outcome);
    }

    fn note_stages(&mut self, stages: &Stages) {
        let Stages { detect, build, store, preflight, load, migrate, swap } = *stages;
        let all = [
            (Stage::Detect, detect),
            (Stage::Build, build),
            (Stage::Store, store),
            (Stage::Preflight, preflight),
            (Stage::Load, load),
            (Stage::Migrate, migrate),
            (Stage::Swap, swap),
        ];
        for (stage, took_ms) in all.into_iter().filter(|(_, took_ms)| *took_ms > 0.0) {
            let times = self.stages.entry(stage).or_insert_with(|| Histogram::new(STAGE_BOUNDS));
            times.note(took_ms / 1e3);
        }
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K) {
    *counts.entry(key).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventSink;

    fn crash(signal: Option<&str>, exit: Option<i32>) -> EventKind {
        let signal = signal.map(str::to_owned);
        EventKind::PluginCrashed { signal, exit, stderr_tail: String::new(), restart_in_ms: None }
    }

    #[test]
    fn events_are_counted_by_plugin_and_kind() {
        let sink = EventSink::new();
        let (one, other): (PluginId, PluginId) = ("a.one".parse().unwrap(), "a.other".parse().unwrap());
        let stages = Stages { build: 100.0, swap: 0.02, ..Stages::default() };
        let refused = EventKind::ReloadFailed {
            stage: Stage::Load,
            error: String::new(),
            kept_generation: None,
            gap_ms: None,
        };
        for kind in [
            EventKind::Reloaded { stages, total_ms: 120.0, gap_ms: None, warnings: Vec::new(), way: None },
            EventKind::BuildSuperseded,
            EventKind::BuildSuperseded,
            refused,
            EventKind::GenerationRetired { outcome: RetireOutcome::Kept },
            crash(Some("SIGSEGV"), None),
            EventKind::PluginRestarted { deaths: 1 },
            crash(None, Some(3)),
            crash(None, None),
            EventKind::PluginRestarted { deaths: 3 },
            // A rejected configuration does not count as an attempt to install a version.
            EventKind::ConfigureFailed { file: None, error: String::new(), kept_generation: None },
        ] {
            sink.plugin(&one, kind);
        }
        sink.plugin(
            &other,
            EventKind::BuildUnchanged { rolled_back: false, warnings: Vec::new(), way: None },
        );

        let tally = sink.tally().of(&one);
        let reloads: Vec<_> = tally.reloads.into_iter().collect();
        let expected = [
            (ReloadOutcome::Reloaded, 1),
            (ReloadOutcome::Superseded, 2),
            (ReloadOutcome::Refused(Stage::Load), 1),
        ];
        assert_eq!(reloads, expected);
        assert_eq!(tally.stages.keys().copied().collect::<Vec<_>>(), [Stage::Build, Stage::Swap]);
        assert_eq!((tally.reload_time.count(), tally.reload_time.sum_seconds()), (1, 0.12));
        assert_eq!(tally.retired[&RetireOutcome::Kept], 1);
        let causes: Vec<_> = tally.crashes.keys().map(String::as_str).collect();
        assert_eq!(causes, ["SIGSEGV", "disconnected", "exit"]);
        assert_eq!(
            tally.restarts.into_iter().collect::<Vec<_>>(),
            [("SIGSEGV".into(), 1), ("disconnected".into(), 1)]
        );
        assert_eq!(sink.tally().of(&other).reloads[&ReloadOutcome::Unchanged], 1);
    }
}
