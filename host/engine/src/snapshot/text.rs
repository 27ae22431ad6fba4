//! [`Metrics`] in the text format of Prometheus, version 0.0.4.
//!
//! Names begin with `replug_`, units are seconds and bytes. The values of a label are few: no method, message or path
//! is a label.

use super::{Metrics, PluginMetrics};
use crate::{
    info::Status,
    metrics::{Failure, Histogram, ReloadOutcome},
};
use std::{fmt::Write, time::UNIX_EPOCH};

impl Metrics {
    /// The media type of [`Metrics::to_prometheus`].
    pub const PROMETHEUS_MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All metrics in the text format of Prometheus. `docs/monitoring` describes each line.
    pub fn to_prometheus(&self) -> String {
        let mut page = Page::default();
        self.write_host(&mut page);
        self.write_states(&mut page);
        self.write_calls(&mut page);
        self.write_reloads(&mut page);
        self.write_incidents(&mut page);
        self.write_processes(&mut page);
        page.text
    }

    fn write_host(&self, page: &mut Page) {
        let mut one = |kind, name, help, value| page.family(kind, name, help).add(&[], value);
        one(Kind::Gauge, "replug_plugins", "Plugins that were found.", self.plugins.len() as f64);
        let since = self.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        one(
            Kind::Gauge,
            "replug_start_time_seconds",
            "When the host started, in seconds since 1970-01-01 UTC.",
            since,
        );
        let budget = &self.budget;
        let (used, limit) = (budget.tls_keys_used as f64, budget.tls_keys_limit as f64);
        let help = "Thread-local keys that the host process uses. Most of them are never released.";
        one(Kind::Gauge, "replug_thread_local_keys_used", help, used);
        let help = "Maximum number of thread-local keys of a process. A process that needs more is aborted.";
        one(Kind::Gauge, "replug_thread_local_keys_limit", help, limit);
        let help = "Private memory of all mapped generations in the host process.";
        one(Kind::Gauge, "replug_retained_bytes", help, budget.bytes_retained as f64);
        let help =
            "Limit of replug_retained_bytes. At the limit, no version is loaded into the host process.";
        one(Kind::Gauge, "replug_retained_limit_bytes", help, budget.bytes_limit as f64);
        let help = "Events that slow readers have missed.";
        one(Kind::Counter, "replug_events_lost_total", help, self.events_lost as f64);
        if let Some(process) = &self.process {
            let help = "Resident memory of the host process, including plugins in it.";
            one(Kind::Gauge, "replug_host_resident_memory_bytes", help, process.resident_bytes as f64);
            let help = "CPU time of the host process, including plugins in it.";
            one(Kind::Counter, "replug_host_cpu_seconds_total", help, process.cpu_seconds);
            let help = "Threads of the host process, including plugins in it.";
            one(Kind::Gauge, "replug_host_threads", help, process.threads as f64);
        }
        let help = "The version of replug, as a label.";
        page.family(Kind::Gauge, "replug_build_info", help).add(&[("version", self.version)], 1.0);
    }

    fn write_states(&self, page: &mut Page) {
        let mut up = page.family(
            Kind::Gauge,
            "replug_plugin_up",
            "Whether a generation of the plugin serves: 1 or 0.",
        );
        self.each(|it, id| up.add(&[("plugin", id)], f64::from(u8::from(it.serving))));
        let help = "The status of the plugin: 1 for its current status, 0 for the others.";
        let mut state = page.family(Kind::Gauge, "replug_plugin_state", help);
        self.each(|it, id| {
            for (status, name) in STATES {
                let value = f64::from(u8::from(it.status == status));
                state.add(&[("plugin", id), ("state", name)], value);
            }
        });
        let help = "Generations by state: serving, draining (replaced, and still running calls), or kept (retired, with \
                    their code still mapped).";
        let mut generations = page.family(Kind::Gauge, "replug_generations", help);
        self.each(|it, id| {
            let states = [("serving", usize::from(it.serving) as u64), ("draining", it.draining as u64)];
            for (state, count) in states.into_iter().chain([("kept", kept(it))]) {
                generations.add(&[("plugin", id), ("state", state)], count as f64);
            }
        });
        let mut retired =
            page.family(Kind::Counter, "replug_generations_retired_total", "Generations that have ended.");
        self.each(|it, id| {
            for (outcome, count) in &it.tally.retired {
                let outcome = outcome.name();
                retired.add(&[("plugin", id), ("outcome", outcome)], *count as f64);
            }
        });
    }

    fn write_calls(&self, page: &mut Page) {
        let mut calls = page.family(Kind::Counter, "replug_calls_total", "Calls that have ended.");
        self.each_mode(|it, labels| {
            let ok = ("ok", it.calls.saturating_sub(it.failures.total()));
            let failed = Failure::ALL.map(|why| (why.name(), it.failures.of(why)));
            for (outcome, count) in [ok].into_iter().chain(failed) {
                calls.add(&[labels[0], labels[1], ("outcome", outcome)], count as f64);
            }
        });
        let help = "Calls that run on the serving generation.";
        let mut running = page.family(Kind::Gauge, "replug_calls_in_flight", help);
        self.each(|it, id| running.add(&[("plugin", id)], it.in_flight as f64));
        let help = "Duration of timed calls, from the lookup of the generation until the result. All calls by name are \
                    timed. Of the other calls, a thread times each that follows a call into a child process, and one in \
                    1024 of those that follow a call in process.";
        let mut times = page.family(Kind::Histogram, "replug_call_duration_sampled_seconds", help);
        self.each_mode(|it, labels| {
            for (outcome, durations) in [("ok", &it.returned), ("failed", &it.failed)] {
                times.add_histogram(&[labels[0], labels[1], ("outcome", outcome)], durations);
            }
        });
    }

    fn write_reloads(&self, page: &mut Page) {
        let help = "Attempts to install a version, by outcome.";
        let mut reloads = page.family(Kind::Counter, "replug_reloads_total", help);
        self.each(|it, id| {
            for (outcome, count) in &it.tally.reloads {
                let (outcome, stage) = reload_outcome(*outcome);
                let labels = [("plugin", id), ("outcome", outcome), ("stage", stage)];
                reloads.add(&labels, *count as f64);
            }
        });
        let help = "Time from the save or the command until the new generation served.";
        let mut total = page.family(Kind::Histogram, "replug_reload_duration_seconds", help);
        self.each(|it, id| total.add_histogram(&[("plugin", id)], &it.tally.reload_time));
        let help = "Duration of each stage of a successful reload.";
        let mut stages = page.family(Kind::Histogram, "replug_reload_stage_duration_seconds", help);
        self.each(|it, id| {
            for (stage, durations) in &it.tally.stages {
                stages.add_histogram(&[("plugin", id), ("stage", stage.name())], durations);
            }
        });
        let help = "Rollbacks of the plugin to an earlier version.";
        let mut rollbacks = page.family(Kind::Counter, "replug_rollbacks_total", help);
        self.each(|it, id| rollbacks.add(&[("plugin", id)], it.tally.rollbacks as f64));
    }

    fn write_incidents(&self, page: &mut Page) {
        let help = "Unexpected exits of the plugin's process, by cause.";
        let mut crashes = page.family(Kind::Counter, "replug_plugin_crashes_total", help);
        self.each(|it, id| {
            for (cause, count) in &it.tally.crashes {
                crashes.add(&[("plugin", id), ("cause", cause)], *count as f64);
            }
        });
        let help = "Restarts of the plugin's process, by the cause of the previous process's exit.";
        let mut restarts = page.family(Kind::Counter, "replug_plugin_restarts_total", help);
        self.each(|it, id| {
            for (cause, count) in &it.tally.restarts {
                restarts.add(&[("plugin", id), ("cause", cause)], *count as f64);
            }
        });
        let mut counter = |name, help, pick: fn(&PluginMetrics) -> u64| {
            let mut family = page.family(Kind::Counter, name, help);
            self.each(|it, id| family.add(&[("plugin", id)], pick(it) as f64));
        };
        counter("replug_plugin_panics_total", "Panics of the plugin that were caught.", |it| it.tally.panics);
        let help = "Moves of the plugin to a child process, although its manifest does not require one.";
        counter("replug_plugin_demotions_total", help, |it| it.tally.demotions);
        let help = "Quarantines of the plugin. A quarantine ends when the plugin is started or its artifact changes.";
        counter("replug_plugin_quarantines_total", help, |it| it.tally.quarantines);
    }

    fn write_processes(&self, page: &mut Page) {
        let mut of_process = |kind, name, help, pick: fn(&PluginMetrics) -> Option<f64>| {
            let mut family = page.family(kind, name, help);
            self.each(|it, id| {
                if let Some(value) = pick(it) {
                    family.add(&[("plugin", id)], value);
                }
            });
        };
        let help = "Private memory of the serving generation's library in the host.";
        of_process(Kind::Gauge, "replug_plugin_private_bytes", help, |it| {
            it.private_bytes.map(|bytes| bytes as f64)
        });
        let help = "Resident memory of the plugin's child process.";
        of_process(Kind::Gauge, "replug_plugin_resident_memory_bytes", help, |it| {
            it.process.map(|process| process.resident_bytes as f64)
        });
        let help = "CPU time of the plugin's child process. Starts at zero with each process.";
        of_process(Kind::Counter, "replug_plugin_cpu_seconds_total", help, |it| {
            it.process.map(|process| process.cpu_seconds)
        });
        let help = "Threads of the plugin's child process.";
        of_process(Kind::Gauge, "replug_plugin_threads", help, |it| {
            it.process.map(|process| process.threads as f64)
        });
        let help = "Open descriptors of the plugin's child process.";
        of_process(Kind::Gauge, "replug_plugin_open_files", help, |it| {
            it.process.and_then(|process| process.open_files).map(|files| files as f64)
        });
    }

    fn each<'a>(&'a self, mut write: impl FnMut(&'a PluginMetrics, &'a str)) {
        self.plugins.iter().for_each(|it| write(it, it.id.as_str()));
    }

    fn each_mode<'a>(&'a self, mut write: impl FnMut(&'a super::CallMetrics, [(&'static str, &'a str); 2])) {
        self.each(|it, id| {
            for of_mode in &it.calls {
                write(of_mode, [("plugin", id), ("mode", of_mode.mode.name())]);
            }
        });
    }
}

const STATES: [(Status, &str); 7] = [
    (Status::Ready, "ready"),
    (Status::Running, "running"),
    (Status::Stopped, "stopped"),
    (Status::Error, "error"),
    (Status::Available, "available"),
    (Status::SourceOnly, "source_only"),
    (Status::Incomplete, "incomplete"),
];

/// The number of generations that have ended and whose code is still mapped.
fn kept(of: &PluginMetrics) -> u64 {
    let retired = of.tally.retired.iter();
    retired.filter(|(outcome, _)| outcome.stays_mapped()).map(|(_, count)| count).sum()
}

/// The labels for an outcome: its name, and the stage at which the version was rejected. The stage is empty if the
/// version was not rejected.
fn reload_outcome(outcome: ReloadOutcome) -> (&'static str, &'static str) {
    match outcome {
        ReloadOutcome::Reloaded => ("reloaded", ""),
        ReloadOutcome::Unchanged => ("unchanged", ""),
        ReloadOutcome::Superseded => ("superseded", ""),
        ReloadOutcome::BuildFailed => ("build_failed", "build"),
        ReloadOutcome::Refused(stage) => ("refused", stage.name()),
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text in the format of Prometheus.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Begins a family of samples, with its `HELP` and `TYPE` lines. A family without samples has these lines, too, so
    /// that a reader sees which families exist.
    fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { text: &mut self.text, name }
    }
}

struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

type Labels<'a> = [(&'a str, &'a str)];

impl Family<'_> {
    fn add(&mut self, labels: &Labels<'_>, value: f64) {
        self.sample("", labels, value);
    }

    /// Adds a histogram, unless it is empty.
    fn add_histogram(&mut self, labels: &Labels<'_>, durations: &Histogram) {
        let mut count = 0;
        if durations.count() == 0 {
            return;
        }
        for (bound, cumulative) in durations.cumulative() {
            let le = number(bound);
            let labels: Vec<_> = labels.iter().copied().chain([("le", le.as_str())]).collect();
            self.sample("_bucket", &labels, cumulative as f64);
            count = cumulative;
        }
        self.sample("_sum", labels, durations.sum_seconds());
        // `_count` has to equal the last bucket, so the counter is not read a second time.
        self.sample("_count", labels, count as f64);
    }

    fn sample(&mut self, suffix: &str, labels: &Labels<'_>, value: f64) {
        let Self { text, name } = self;
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}{suffix}");
        for (index, (label, value)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{}\"", escaped(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(text, "{after} {}", number(value));
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".into() } else { value.to_string() }
}

/// The value of a label, escaped for use in quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_help_and_type_lines_and_escaped_labels() {
        let mut page = Page::default();
        page.family(Kind::Gauge, "replug_empty", "Nothing.");
        let mut family = page.family(Kind::Counter, "replug_x_total", "Help.");
        family.add(&[], 1.0);
        family.add(&[("a", "say \"hi\"\\\n"), ("b", "ü")], 0.5);
        let expected = "# HELP replug_empty Nothing.\n# TYPE replug_empty gauge\n\
                        # HELP replug_x_total Help.\n# TYPE replug_x_total counter\nreplug_x_total 1\n\
                        replug_x_total{a=\"say \\\"hi\\\"\\\\\\n\",b=\"ü\"} 0.5\n";
        assert_eq!(page.text, expected);
    }
}
