//! Who hears what a plugin says unasked, its log and its panics: in the host, or in a shim on the host's behalf.

use super::{
    LogBound,
    cut::cut,
    ration::{Ration, Share},
};
use replug_model::{
    event::{EventKind, WeakEventSink},
    id::{Digest, Generation, PluginId},
};
use replug_wire::{Level, Report};
use serde_json::Value;
use std::{sync::Arc, thread, time::Instant};

/// Hears a plugin. Called on the plugin's threads, in the middle of what they do.
pub trait Listener: Send + Sync + 'static {
    /// The most verbose level that it wants at this time.
    fn max_level(&self) -> Level;

    /// Takes a report. A panic must have gone where it is not lost before this returns: the process may be about to
    /// end.
    fn hear(&self, report: Report);
}

/// In whose name a library speaks to the host: to its `tracing` subscriber, and as events.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub(crate) plugin: PluginId,
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    events: WeakEventSink,
    bound: LogBound,
    log: Portions,
}

/// What is reported of one kind of what a plugin says: its log, or one of its streams.
#[derive(Clone, Debug)]
pub(super) struct Portions {
    /// What they are counted in.
    unit: &'static str,
    level: Level,
    target: &'static str,
    ration: Arc<Ration>,
}

impl Portions {
    /// Lines of a stream of that name.
    pub(super) fn of_lines(stream: &'static str) -> Self {
        Self { unit: "lines", level: Level(3), target: stream, ration: Arc::new(Ration::new()) }
    }

    fn of_log() -> Self {
        Self { unit: "events", level: Level(2), target: "replug", ration: Arc::new(Ration::new()) }
    }

    /// Something without fields, as it is told.
    pub(super) fn plain(&self, message: String) -> Report {
        let (fields, spans) = ("{}".into(), "[]".into());
        Report::Log { level: self.level, target: self.target.into(), message, fields, spans }
    }
}

impl Listener for Speaker {
    fn max_level(&self) -> Level {
        self.bound.wanted()
    }

    fn hear(&self, report: Report) {
        match report {
            // It may not have heard yet that less is wanted.
            Report::Log { level, .. } if !self.bound.admits(level) => {}
            Report::Log { .. } => self.tell_in_part(&self.log, report),
            // Counted in the metrics by the event.
            Report::Panic { .. } => self.tell(report),
        }
    }
}

impl Speaker {
    /// For this generation, until the host is gone.
    pub fn new(of: (PluginId, Generation, Digest), events: WeakEventSink, bound: LogBound) -> Self {
        let (plugin, generation, digest) = of;
        Self { plugin, generation, digest, events, bound, log: Portions::of_log() }
    }

    /// Tells it, unless too much of the kind came just before; then it is counted, and the count told when the time of
    /// that is over.
    pub(super) fn tell_in_part(&self, of: &Portions, report: Report) {
        match of.ration.take() {
            Share::Told => self.tell(report),
            Share::ToldAfter(left_out) => {
                self.tell_left_out(of, left_out);
                self.tell(report);
            }
            Share::LeftOut(None) => {}
            Share::LeftOut(Some(end)) => self.settle_after(of, end),
        }
    }

    /// Tells how much was left out since that was last told.
    pub(super) fn settle(&self, of: &Portions) {
        self.tell_left_out(of, of.ration.settle());
    }

    /// Tells what the log has left out.
    pub(super) fn settle_log(&self) {
        self.settle(&self.log);
    }

    /// Sees to it that what is left out until then is told, even if nothing more comes.
    fn settle_after(&self, of: &Portions, end: Instant) {
        let (speaker, portions) = (self.clone(), of.clone());
        let settle = move || {
            let left_out = portions.ration.settle_after(end);
            speaker.tell_left_out(&portions, left_out);
        };
        // Where no thread can be had, what comes next brings the count.
        let _ = thread::Builder::new().name("replug-left-out".into()).spawn(settle);
    }

    fn tell_left_out(&self, of: &Portions, count: u64) {
        if count > 0 {
            self.tell(of.plain(format!("({count} {} left out)", of.unit)));
        }
    }

    fn tell(&self, report: Report) {
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

/// Hands a log event to the host's subscriber.
fn print(plugin: &str, generation: u64, event: (Level, &str, &str, &str, &str)) -> tracing::Level {
    let (level, target, message, fields, spans) = event;
    let fields = (fields != "{}").then_some(fields);
    let spans = (spans != "[]").then_some(spans);
    // A callsite is static and has one level.
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

/// Hands a panic to the host's subscriber.
pub(super) fn print_panic(of: (&str, u64), panic: (&str, &str, &str, &str)) {
    let (plugin, generation) = of;
    let (message, location, thread, backtrace) = panic;
    if backtrace.is_empty() {
        tracing::error!(target: "plugin", plugin, generation, location, thread, "panicked: {message}");
    } else {
        tracing::error!(target: "plugin", plugin, generation, location, thread, "panicked: {message}\n{backtrace}");
    }
}
