//! Receives the logs and panics that a plugin reports: in the host, or in a shim on the host's behalf.

use super::{
    LogBound,
    cut::cut,
    rate_limit::{Decision, RateLimit},
};
use replug_model::{
    event::{EventKind, WeakEventSink},
    id::{Digest, Generation, PluginId},
};
use replug_wire::{Level, Report};
use serde_json::Value;
use std::{sync::Arc, thread, time::Instant};

/// Receives the reports of a plugin. If the plugin runs in this process, the methods are called on threads that run the
/// plugin's code.
pub(crate) trait ReportSink: Send + Sync + 'static {
    /// The most verbose level that the host currently accepts.
    fn max_level(&self) -> Level;

    /// Takes a report. A panic must be stored or sent before this method returns, because the process may be about to
    /// abort.
    fn report(&self, report: Report);
}

/// The host's sink for the reports of one generation. Passes them to the host's `tracing` subscriber, and emits
/// them as events.
#[derive(Clone, Debug)]
pub struct HostReporter {
    pub(crate) plugin: PluginId,
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    events: WeakEventSink,
    bound: LogBound,
    log: LimitedReports,
}

/// Reports that share a rate limit: the log of a plugin, or the lines of one of its streams.
#[derive(Clone, Debug)]
pub(super) struct LimitedReports {
    /// What the left-out items are called in the message about them.
    unit: &'static str,
    level: Level,
    target: &'static str,
    limit: Arc<RateLimit>,
}

impl LimitedReports {
    /// The rate limit for the lines of a stream.
    pub(super) fn of_lines(stream: &'static str) -> Self {
        Self { unit: "lines", level: Level(3), target: stream, limit: Arc::new(RateLimit::new()) }
    }

    fn of_log() -> Self {
        Self { unit: "events", level: Level(2), target: "replug", limit: Arc::new(RateLimit::new()) }
    }

    /// A log report with this message, without fields or spans.
    pub(super) fn plain(&self, message: String) -> Report {
        let (fields, spans) = ("{}".into(), "[]".into());
        Report::Log { level: self.level, target: self.target.into(), message, fields, spans }
    }
}

impl ReportSink for HostReporter {
    fn max_level(&self) -> Level {
        self.bound.wanted()
    }

    fn report(&self, report: Report) {
        match report {
            // The plugin may still log at an earlier, more verbose level.
            Report::Log { level, .. } if !self.bound.admits(level) => {}
            Report::Log { .. } => self.emit_limited(&self.log, report),
            // No rate limit, because the metrics count panics by their events.
            Report::Panic { .. } => self.emit(report),
        }
    }
}

impl HostReporter {
    /// A sink for the given plugin, generation and artifact. It emits no events after the host has shut down.
    pub fn new(of: (PluginId, Generation, Digest), events: WeakEventSink, bound: LogBound) -> Self {
        let (plugin, generation, digest) = of;
        Self { plugin, generation, digest, events, bound, log: LimitedReports::of_log() }
    }

    /// Emits the report, unless the rate limit of its kind is exceeded. In that case, only counts the report, and the
    /// count is emitted at the end of the window.
    pub(super) fn emit_limited(&self, of: &LimitedReports, report: Report) {
        match of.limit.take() {
            Decision::Emit => self.emit(report),
            Decision::EmitAfter(left_out) => {
                self.emit_left_out(of, left_out);
                self.emit(report);
            }
            Decision::LeaveOut(None) => {}
            Decision::LeaveOut(Some(end)) => self.settle_after(of, end),
        }
    }

    /// Emits how many reports of this kind were left out since the last emitted count.
    pub(super) fn settle(&self, of: &LimitedReports) {
        self.emit_left_out(of, of.limit.settle());
    }

    /// Emits how many log events were left out.
    pub(super) fn settle_log(&self) {
        self.settle(&self.log);
    }

    /// Starts a thread that emits the number of left-out reports at `end`, even if the plugin reports nothing more.
    fn settle_after(&self, of: &LimitedReports, end: Instant) {
        let (reporter, limited) = (self.clone(), of.clone());
        let settle = move || {
            let left_out = limited.limit.settle_after(end);
            reporter.emit_left_out(&limited, left_out);
        };
        // If no thread can be started, the count is emitted before the next report.
        let _ = thread::Builder::new().name("replug-left-out".into()).spawn(settle);
    }

    fn emit_left_out(&self, of: &LimitedReports, count: u64) {
        if count > 0 {
            self.emit(of.plain(format!("({count} {} left out)", of.unit)));
        }
    }

    fn emit(&self, report: Report) {
        let (plugin, generation) = (self.plugin.as_str(), self.generation.0);
        let kind = match cut(report) {
            Report::Log { level, target, message, fields, spans } => {
                let level = print(plugin, generation, (level, &target, &message, &fields, &spans));
                EventKind::Log {
                    level: level.to_string(),
                    target,
                    message,
                    fields: serde_json::from_str(&fields).unwrap_or(Value::Null),
                    spans: serde_json::from_str(&spans).unwrap_or_default(),
                }
            }
            Report::Panic { message, location, thread, backtrace } => {
                print_panic((plugin, generation), (&message, &location, &thread, &backtrace));
                EventKind::PluginPanicked { message, location, thread, backtrace }
            }
        };
        if let Some(events) = self.events.upgrade() {
            events.generation((&self.plugin, self.generation, self.digest), kind);
        }
    }
}

/// Passes a log event to the host's subscriber.
fn print(plugin: &str, generation: u64, event: (Level, &str, &str, &str, &str)) -> tracing::Level {
    let (level, target, message, fields, spans) = event;
    let fields = (fields != "{}").then_some(fields);
    let spans = (spans != "[]").then_some(spans);
    // A callsite is static and has one level, so each level needs a callsite of its own.
    macro_rules! event {
        ($level:ident) => {{
            tracing::event!(
                target: "plugin", tracing::Level::$level, plugin, generation, from = target, fields, spans, "{message}"
            );
            tracing::Level::$level
        }};
    }
    match level.0 {
        1 => event!(ERROR),
        2 => event!(WARN),
        3 => event!(INFO),
        4 => event!(DEBUG),
        _ => event!(TRACE),
    }
}

/// Passes a panic to the host's subscriber.
pub(super) fn print_panic(of: (&str, u64), panic: (&str, &str, &str, &str)) {
    let (plugin, generation) = of;
    let (message, location, thread, backtrace) = panic;
    if backtrace.is_empty() {
        tracing::error!(target: "plugin", plugin, generation, location, thread, "panicked: {message}");
    } else {
        tracing::error!(target: "plugin", plugin, generation, location, thread, "panicked: {message}\n{backtrace}");
    }
}
