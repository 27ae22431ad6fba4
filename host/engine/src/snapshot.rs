//! [`Metrics`]: all metrics of a host at one moment. Counters come from [`metrics`](crate::metrics), current values
//! from their owners.

mod text;

use crate::{
    id::PluginId,
    info::{PluginInfo, Status},
    load::process::ProcessUsage,
    manifest::Mode,
    metrics::{Failures, Histogram, PluginTally},
    preflight::Budget,
    registry::CallsIn,
    reload::{self, Context},
    worker::WorkerHandle,
};
use serde::Serialize;
use std::time::SystemTime;

/// All metrics of a host at one moment: [`Host::metrics`](crate::Host::metrics).
///
/// Counters count from the beginning of the host. If a plugin is removed and comes back, its counters continue.
#[derive(Clone, Debug, Serialize)]
pub struct Metrics {
    /// The version of replug.
    pub version: &'static str,
    /// When counting began.
    pub since: SystemTime,
    /// What this process uses, including the plugins in it.
    pub process: Option<ProcessUsage>,
    /// The resources that this process has used for good, and their limits.
    pub budget: Budget,
    /// How many events all readers together have missed because they were too slow.
    pub events_lost: u64,
    /// The existing plugins, by id.
    pub plugins: Vec<PluginMetrics>,
}

/// The metrics of one plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginMetrics {
    /// The plugin.
    pub id: PluginId,
    /// Its status.
    pub status: Status,
    /// Whether a generation of it serves.
    pub serving: bool,
    /// The generations that no longer serve and still run calls.
    pub draining: usize,
    /// The calls that have ended, by the mode of their generation; modes without calls are left out.
    pub calls: Vec<CallMetrics>,
    /// Calls that run on the generation that serves.
    pub in_flight: usize,
    /// What the plugin's process uses, if the plugin runs in a child process.
    pub process: Option<ProcessUsage>,
    /// The private memory of the serving generation's library, in bytes, if the library is in the host's process.
    pub private_bytes: Option<u64>,
    /// The counters of its events.
    pub tally: PluginTally,
}

/// The calls of a plugin's generations that ran in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct CallMetrics {
    /// The mode: [`Mode::InProcess`] or [`Mode::Process`].
    pub mode: Mode,
    /// Calls that have ended.
    pub calls: u64,
    /// Of the ended calls, those that returned no value, by kind of failure.
    pub failures: Failures,
    /// The durations of calls that returned, from when a generation was found until the answer. Timed are calls by
    /// name, calls into a child process, and one in 1,024 typed calls in this process.
    pub returned: Histogram,
    /// The durations of calls that failed.
    pub failed: Histogram,
}

impl Metrics {
    pub(crate) fn of(context: &Context, workers: &[WorkerHandle]) -> Self {
        let tally = context.settings.events.tally();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            since: tally.since(),
            process: ProcessUsage::own(),
            budget: reload::budget(context),
            events_lost: tally.events_lost(),
            plugins: workers.iter().map(|worker| PluginMetrics::of(context, worker)).collect(),
        }
    }
}

impl PluginMetrics {
    fn of(context: &Context, worker: &WorkerHandle) -> Self {
        let info = PluginInfo::of(worker, context.builder.dir());
        let called = |of: &CallsIn| of.calls.calls > 0;
        let calls = worker.entry.calls_by_mode().into_iter().filter(called);
        Self {
            status: info.status,
            serving: info.generation.is_some(),
            draining: worker.entry.draining(),
            calls: calls.map(CallMetrics::of).collect(),
            in_flight: info.in_flight,
            process: info.process,
            private_bytes: info.private_bytes,
            tally: context.settings.events.tally().of(&info.id),
            id: info.id,
        }
    }
}

impl CallMetrics {
    fn of(CallsIn { mode, calls, returned, failed }: CallsIn) -> Self {
        Self { mode, calls: calls.calls, failures: calls.failures, returned, failed }
    }
}
