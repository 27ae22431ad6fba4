//! The `tracing` subscriber of the test program. It records what plugins log. A test can register an action that runs
//! when a plugin logs a certain message.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

/// The most verbose level that the subscriber accepts.
pub const MAX_LEVEL: Level = Level::DEBUG;

/// One event of a plugin, as it reached the subscriber.
#[derive(Clone, Debug)]
pub struct Record {
    /// The level of the event.
    pub level: Level,
    /// The message of the event.
    pub message: String,
    /// The other fields of the event.
    pub fields: BTreeMap<String, String>,
    /// The name of the host's span in which the event was logged.
    pub span: Option<&'static str>,
}

type Action = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct State {
    records: HashMap<String, Vec<Record>>,
    actions: HashMap<(String, String), Action>,
}

fn state() -> MutexGuard<'static, State> {
    static STATE: OnceLock<Mutex<State>> = OnceLock::new();
    STATE.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the recorder as the program's subscriber, unless it is installed already.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        let subscriber =
            tracing_subscriber::registry().with(Recorder.with_filter(LevelFilter::from_level(MAX_LEVEL)));
        tracing::subscriber::set_global_default(subscriber).expect("no other subscriber");
    });
}

/// The events of a plugin so far.
pub fn of(plugin: &str) -> Vec<Record> {
    state().records.get(plugin).cloned().unwrap_or_default()
}

/// Runs `action`, on the thread that logs, whenever the plugin logs `message`.
pub fn when(plugin: &str, message: &str, action: impl Fn() + Send + Sync + 'static) {
    state().actions.insert((plugin.into(), message.into()), Arc::new(action));
}

struct Recorder;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let Fields(mut fields) = fields;
        let Some(plugin) = fields.remove("plugin") else { return };
        let message = fields.remove("message").unwrap_or_default();
        let span = context.event_span(event).map(|span| span.name());
        let record = Record { level: *event.metadata().level(), message: message.clone(), fields, span };
        let mut state = state();
        state.records.entry(plugin.clone()).or_default().push(record);
        let action = state.actions.get(&(plugin, message)).cloned();
        drop(state);
        if let Some(action) = action {
            action();
        }
    }
}

#[derive(Default)]
struct Fields(BTreeMap<String, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}"));
    }
}
