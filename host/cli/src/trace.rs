//! Where `tracing` events go: the host's own to the standard error, those of plugins to whoever reads the host's events.

use super::output::Stderr;
use clap::{Args, ValueEnum};
use replug::{Layers, LogFormat, LogSettings};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::Targets,
    fmt::{self, format::FmtSpan},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// How much is said of what goes on inside, and how.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Log {
    /// What to show of the plugins' logs: off, error, warn, info, debug or trace [default: info]
    ///
    /// Without it, `log.plugins` of the configuration decides, else RUST_LOG; the host's own logs go by `log.filter` or
    /// RUST_LOG alone.
    #[arg(long, value_name = "LEVEL")]
    log: Option<LevelFilter>,
    /// What a line of the host's own logs looks like [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

/// See [`LogFormat`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object, with the spans that it happened in
    Json,
}

/// The target under which the host passes on what plugins log.
const PLUGIN: &str = "plugin";

/// A listener that wants the plugins' events and does nothing with them: they arrive as events of the host. Plugins
/// send no more than someone wants.
struct Wants;

impl Layer<Registry> for Wants {}

impl Log {
    /// Lays these over the configuration.
    pub(super) fn over(self, layers: Layers) -> Layers {
        let mut layers = layers.plugins_by_filter(LevelFilter::INFO);
        if let Some(level) = self.log {
            layers = layers.flag("log.plugins", "--log", level.to_string());
        }
        if let Some(format) = self.log_format {
            let format = match format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            };
            layers = layers.flag("log.format", "--log-format", format.name());
        }
        layers
    }
}

/// Whatever else hears of events and spans.
pub(super) type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// What listens, so that it can be told to listen to something else.
pub(super) struct Listening {
    own: reload::Handle<EnvFilter, Registry>,
    plugins: reload::Handle<Targets, Registry>,
}

impl Listening {
    /// Listens to what the settings say from now on.
    pub(super) fn adopt(&self, settings: &LogSettings) {
        // An error means that another subscriber is in place, which is none of ours.
        let _ = self.own.reload(own(settings));
        let _ = self.plugins.reload(plugins(settings));
    }
}

/// Begins to listen, for a command that shows the host's events. `more` hears of everything too.
pub(super) fn listen(settings: &LogSettings, more: Option<AnyLayer>) -> Listening {
    let (own, own_handle) = reload::Layer::new(own(settings));
    let (plugins, plugins_handle) = reload::Layer::new(plugins(settings));
    // A span is reported when it ends, with how long it took.
    let lines = fmt::layer().with_writer(|| Stderr).with_span_events(FmtSpan::CLOSE);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(super::terminal::stderr_has_colour()).with_filter(own).boxed(),
        LogFormat::Json => lines.json().with_filter(own).boxed(),
    };
    let layers: Vec<_> = [Wants.with_filter(plugins).boxed(), lines].into_iter().chain(more).collect();
    // Only this function sets it, once; a second one would be the one to give way.
    let _ = tracing_subscriber::registry().with(layers).try_init();
    Listening { own: own_handle, plugins: plugins_handle }
}

/// Begins to listen, for a command that ends with its answer: only what the host warns of is said.
pub(super) fn quietly() {
    let filter = std::env::var("RUST_LOG").ok();
    listen(&LogSettings { filter, plugins: Some(LevelFilter::OFF), ..LogSettings::default() }, None);
}

/// What is written of the host's own logs.
fn own(settings: &LogSettings) -> EnvFilter {
    let filter = settings.filter.as_deref().unwrap_or_default();
    let own = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(filter);
    match format!("{PLUGIN}=off").parse() {
        Ok(directive) => own.add_directive(directive),
        Err(_) => own,
    }
}

/// What plugins are asked to log.
fn plugins(settings: &LogSettings) -> Targets {
    Targets::new().with_target(PLUGIN, settings.plugins.unwrap_or(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_asked_for_more_than_is_printed_of_the_host_and_for_less_when_that_is_said() {
        let listening = listen(&LogSettings::default(), None);
        assert_eq!(LevelFilter::current(), LevelFilter::INFO);
        let less = LogSettings { plugins: Some(LevelFilter::ERROR), ..LogSettings::default() };
        listening.adopt(&less);
        assert_eq!(LevelFilter::current(), LevelFilter::WARN, "what the host itself warns of");
        assert!(!plugins(&less).would_enable(PLUGIN, &tracing::Level::WARN));
    }
}
