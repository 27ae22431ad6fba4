//! Passes the plugin's `tracing` events and panics to the host, and asks the host whether a caller still waits. The
//! functions of the host are in `host/runtime/src/load/in_process/services.rs`.
//!
//! A plugin has its own copy of `tracing`'s globals, so without a bridge its events would be lost. The bridge has its
//! own [`tracing::Subscriber`] and does not use `tracing-subscriber`, which keeps spans per thread in thread-locals
//! with destructors. The code of these destructors would be in the plugin's library, and a thread of the host that
//! exits after the library has been unmapped would run it.

mod backtrace;
mod fields;
mod panics;
mod spans;

pub(crate) use panics::{hook_panics, unhook_panics};

use crate::abi::{HostServices, LogRecord};
use abi_stable::std_types::{ROption, RStr};
use fields::Fields;
use spans::Spans;
use std::{
    cell::Cell,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use tracing_core::span::Current;

static HOST: OnceLock<HostServices> = OnceLock::new();

/// The most verbose level of the log, 0 to 5.
static MAX_LEVEL: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// Whether this thread is inside `HostServices::log`. If the host calls the plugin from there, the plugin's events
    /// must not be passed to the host again. This value has no destructor, so that it may outlast the plugin's library.
    static LOGGING: Cell<bool> = const { Cell::new(false) };
}

/// Connects this library to its host. Only the first call does so: a later call cannot connect it to another host.
pub(crate) fn attach(services: HostServices) {
    let host = HOST.get_or_init(|| services);
    set_max_level(host.max_level);
    // An error means that the author has installed another subscriber, which stays.
    if tracing::subscriber::set_global_default(Bridge { host, spans: Spans::default() }).is_ok() {
        tracing::callsite::rebuild_interest_cache();
    }
    hook_panics();
}

/// Whether the calling thread is inside a call whose caller no longer waits.
pub(crate) fn is_cancelled() -> bool {
    HOST.get().is_some_and(|host| (host.cancelled)())
}

/// Sets the most verbose level of the log.
pub(crate) fn set_max_level(level: u8) {
    MAX_LEVEL.store(level, Ordering::Relaxed);
    // After this, a disabled event costs one comparison with the static maximum of `tracing`.
    tracing::callsite::rebuild_interest_cache();
}

struct Bridge {
    host: &'static HostServices,
    spans: Spans,
}

fn number(level: &Level) -> u8 {
    match *level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Bridge {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match MAX_LEVEL.load(Ordering::Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        number(metadata.level()) <= MAX_LEVEL.load(Ordering::Relaxed)
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        self.spans.open(attributes)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.spans.record(span, values);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if LOGGING.replace(true) {
            return;
        }
        let _done = Done;
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let (message, fields) = fields.into_message_and_json();
        let spans = self.spans.around(event);
        (self.host.log)(
            self.host.reporter,
            &LogRecord {
                level: number(metadata.level()),
                target: metadata.target().into(),
                message: message.as_str().into(),
                fields: fields.as_str().into(),
                spans: spans.as_str().into(),
                file: metadata.file().map(RStr::from_str).map_or(ROption::RNone, ROption::RSome),
                line: metadata.line().unwrap_or(0),
            },
        );
    }

    fn enter(&self, span: &Id) {
        self.spans.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.spans.exit(span);
    }

    fn clone_span(&self, span: &Id) -> Id {
        self.spans.keep(span);
        span.clone()
    }

    fn try_close(&self, span: Id) -> bool {
        self.spans.close(&span)
    }

    fn current_span(&self) -> Current {
        self.spans.current()
    }
}

/// A value whose drop marks the end of an event, even if the author's `Debug` panics while the fields are written.
struct Done;

impl Drop for Done {
    fn drop(&mut self) {
        LOGGING.set(false);
    }
}
