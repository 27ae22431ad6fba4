//! [`Metrics`]: all numbers of a host at one moment. What was counted comes from [`metrics`](crate::metrics), what is there
//! now from those who have it.

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

/// All numbers of a host at one moment: [`Host::metrics`](crate::Host::metrics).
///
/// What is a count goes on from the beginning of the host, and a plugin that is gone and comes back goes on where it was.
#[derive(Clone, Debug, Serialize)]
pub struct Metrics {
    /// The version of replug.
    pub version: &'static str,
    /// Since when is counted.
    pub since: SystemTime,
    /// What this process takes of the machine, the plugins in it included.
    pub process: Option<ProcessUsage>,
    /// What this process has used up for good, and how far it may go.
    pub budget: Budget,
    /// How many events all readers together were too slow for.
    pub events_lost: u64,
    /// The plugins that are there, by id.
    pub plugins: Vec<PluginMetrics>,
}

/// The numbers of one plugin.
#[derive(Clone, Debug, Serialize)]
pub struct PluginMetrics {
    /// The plugin.
    pub id: PluginId,
    /// How it is.
    pub status: Status,
    /// Whether a generation of it serves.
    pub serving: bool,
    /// The generations that no longer serve and still run calls.
    pub draining: usize,
    /// The calls that have ended, by where their generation ran; modes that were never called are left out.
    pub calls: Vec<CallMetrics>,
    /// Calls that run on the generation that serves.
    pub in_flight: usize,
    /// What its process takes of the machine, if that is one of its own.
    pub process: Option<ProcessUsage>,
    /// What the library of the generation that serves takes of the host's memory for itself, in bytes, if it is there.
    pub private_bytes: Option<u64>,
    /// What has happened to it.
    pub tally: PluginTally,
}

/// The calls of a plugin's generations that ran in one mode.
#[derive(Clone, Debug, Serialize)]
pub struct CallMetrics {
    /// The mode: [`Mode::InProcess`] or [`Mode::Process`].
    pub mode: Mode,
    /// Calls that have ended.
    pub calls: u64,
    /// Those of them that gave no value, by why.
    pub failures: Failures,
    /// How long those took that returned, from when a generation was found until it answered. Calls by name
    /// are timed, and calls into another process; of typed calls in this process, about one in 1,024.
    pub returned: Histogram,
    /// The same of those that failed.
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
