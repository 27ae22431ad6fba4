//! Who hears what a plugin says unasked, its log and its panics: in the host, or in a shim on the host's behalf.

use crate::{
    event::{EventKind, WeakEventSink},
    id::{Digest, Generation, PluginId},
    wire::{Level, Report},
};
use serde_json::Value;
use tracing::level_filters::LevelFilter;

/// Hears a plugin. Called on the plugin's threads, in the middle of what they do.
pub(crate) trait Listener: Send + Sync + 'static {
    /// The most verbose level that it wants at this time.
    fn max_level(&self) -> Level;

    /// Takes a report. A panic must have gone where it is not lost before this returns: the process may be about to
    /// end.
    fn hear(&self, report: Report);
}

/// In whose name a library speaks to the host: to its `tracing` subscriber, and as events.
#[derive(Clone, Debug)]
pub(crate) struct Speaker {
    pub(crate) plugin: PluginId,
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    pub(crate) events: WeakEventSink,
}

impl Listener for Speaker {
    fn max_level(&self) -> Level {
        max_level()
    }

    fn hear(&self, report: Report) {
        let (plugin, generation) = (self.plugin.as_str(), self.generation.0);
        let kind = match report {
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

/// The most verbose level that the host's subscriber wants at this time.
pub(crate) fn max_level() -> Level {
    use tracing::Level as L;
    Level(match LevelFilter::current().into_level() {
        None => 0,
        Some(L::ERROR) => 1,
        Some(L::WARN) => 2,
        Some(L::INFO) => 3,
        Some(L::DEBUG) => 4,
        Some(L::TRACE) => 5,
    })
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
