//! [`Metrics`]: all metrics of a host at one moment. They are the counters of [`metrics`](crate::metrics) and current
//! values.

mod text;

use crate::{
    context::Context,
    id::PluginId,
    info::{PluginInfo, Status},
    manifest::Mode,
    metrics::{Failures, Histogram, PluginTally},
    preflight::Budget,
    process_usage::ProcessUsage,
    registry::CallsIn,
    worker::WorkerHandle,
};
use serde::Serialize;
use std::time::SystemTime;

/// All metrics of a host at one moment. Returned by [`Host::metrics`](crate::Host::metrics).
///
/// Counters begin at zero when the host starts. If a plugin is removed and added again, its counters continue.
#[derive(Clone, Debug, Serialize)]
pub struct Metrics {
    /// The version of replug.
    pub version: &'static str,
    /// The time at which the counters began.
    pub since: SystemTime,
    /// The resources that this process uses, including the plugins in it.
    pub process: Option<ProcessUsage>,
    /// The resources that loaded generations use in this process, and their limits.
    pub budget: Budget,
    /// The number of events that slow readers have missed, summed over all readers.
    pub events_lost: u64,
    /// The existing plugins, sorted by id.
    pub plugins: Vec<PluginMetrics>,
}

/// The metrics of one plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginMetrics {
    /// The plugin's id.
    pub id: PluginId,
    /// The plugin's status.
    pub status: Status,
    /// Whether a generation serves.
    pub serving: bool,
    /// The number of generations that no longer serve and still run calls.
    pub draining: usize,
    /// The calls that have ended, by the mode of their generation. Modes without calls are omitted.
    pub calls: Vec<CallMetrics>,
    /// The number of calls that the serving generation runs now.
    pub in_flight: usize,
    /// The resources that the plugin's child process uses. `None` if the plugin does not run in a child process.
    pub process: Option<ProcessUsage>,
    /// The private memory of the serving generation's library, in bytes. `None` if no generation serves in the host's
    /// process.
    pub private_bytes: Option<u64>,
    /// The counters of the plugin's events.
    pub tally: PluginTally,
}

/// The calls of a plugin's generations that ran in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct CallMetrics {
    /// The mode: [`Mode::InProcess`] or [`Mode::Process`].
    pub mode: Mode,
    /// The number of calls that have ended, including failed calls.
    pub calls: u64,
    /// The number of calls that have failed, by kind of failure.
    pub failures: Failures,
    /// The durations of successful calls, in seconds, from the lookup of the generation until the result. All calls by
    /// name are timed. For any other call, the previous call of the same thread decides: after a call in this process,
    /// about one call in 1,024 is timed; after a call into a child process, each call is.
    pub returned: Histogram,
    /// The durations of failed calls, measured in the same way.
    pub failed: Histogram,
}

impl Metrics {
    pub(crate) fn of(context: &Context, workers: &[WorkerHandle]) -> Self {
        let tally = context.settings.events.tally();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            since: tally.since(),
            process: ProcessUsage::own(),
            budget: context.budget(),
            events_lost: tally.events_lost(),
            plugins: workers.iter().map(|worker| PluginMetrics::of(context, worker)).collect(),
        }
    }
}

impl PluginMetrics {
    fn of(context: &Context, worker: &WorkerHandle) -> Self {
        let info = PluginInfo::of(worker, context.for_info());
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
