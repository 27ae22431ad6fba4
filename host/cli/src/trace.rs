//! Installs the `tracing` subscriber. It prints the host's own `tracing` events on the standard error. It does not
//! print those of plugins, because they become events of the host.

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
};

/// The flags for the level and the format of logs.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Log {
    /// The level of the plugins' logs: off, error, warn, info, debug or trace [default: info]
    ///
    /// Without this flag, the key `log.plugins` of the configuration applies, or else `log.filter` or RUST_LOG. The
    /// level of the host's own logs depends only on `log.filter` or RUST_LOG.
    #[arg(long, value_name = "LEVEL")]
    log: Option<LevelFilter>,
    /// The format of the host's own logs [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<Format>,
}

/// See [`LogFormat`].
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object per line, with its spans
    Json,
}

/// The target of the `tracing` events that the host emits for the logs of plugins.
const PLUGIN: &str = "plugin";

/// A layer that enables the `tracing` events of plugins, and ignores them. Plugins log only at levels that a layer
/// enables. Their log entries are printed when they arrive as events of the host.
struct Wants;

impl Layer<Registry> for Wants {}

impl Log {
    /// Adds these flags to the configuration.
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

/// A layer of any type.
pub(super) type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// The handles by which the filters of the installed layers can be changed.
pub(super) struct Listening {
    own: reload::Handle<EnvFilter, Registry>,
    plugins: reload::Handle<Targets, Registry>,
}

impl Listening {
    /// Applies new settings.
    pub(super) fn adopt(&self, settings: &LogSettings) {
        // An error means that another subscriber was installed first.
        let _ = self.own.reload(own(settings));
        let _ = self.plugins.reload(plugins(settings));
    }
}

/// Installs the layers, for a command that shows the host's events. `more` is an additional layer.
pub(super) fn listen(settings: &LogSettings, more: Option<AnyLayer>) -> Listening {
    let (own, own_handle) = reload::Layer::new(own(settings));
    let (plugins, plugins_handle) = reload::Layer::new(plugins(settings));
    // A span is logged when it ends, with its duration.
    let lines = fmt::layer().with_writer(|| Stderr).with_span_events(FmtSpan::CLOSE);
    let lines = match settings.format {
        LogFormat::Text => lines.with_ansi(super::terminal::stderr_has_colour()).with_filter(own).boxed(),
        LogFormat::Json => lines.json().with_filter(own).boxed(),
    };
    let layers: Vec<_> = [Wants.with_filter(plugins).boxed(), lines].into_iter().chain(more).collect();
    // `try_init` is not used, because it also collects the records of the crate `log` if `tracing-subscriber` has the
    // feature `tracing-log`, as in a build of the whole workspace. An error of this call means that a subscriber is
    // already installed, for example by another test. That subscriber stays installed.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layers));
    Listening { own: own_handle, plugins: plugins_handle }
}

/// Installs the layers, for a command with a single answer: only warnings of the host are logged.
pub(super) fn quietly() {
    let filter = std::env::var("RUST_LOG").ok();
    listen(&LogSettings { filter, plugins: Some(LevelFilter::OFF), ..LogSettings::default() }, None);
}

/// The filter for the host's own logs.
fn own(settings: &LogSettings) -> EnvFilter {
    let filter = settings.filter.as_deref().unwrap_or_default();
    let own = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(filter);
    match format!("{PLUGIN}=off").parse() {
        Ok(directive) => own.add_directive(directive),
        Err(_) => own,
    }
}

/// The filter for plugins' logs.
fn plugins(settings: &LogSettings) -> Targets {
    Targets::new().with_target(PLUGIN, settings.plugins.unwrap_or(LevelFilter::INFO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_of_plugin_logs_is_info_by_default() {
        let listening = listen(&LogSettings::default(), None);
        assert_eq!(LevelFilter::current(), LevelFilter::INFO);
        let less = LogSettings { plugins: Some(LevelFilter::ERROR), ..LogSettings::default() };
        listening.adopt(&less);
        assert_eq!(LevelFilter::current(), LevelFilter::WARN, "the host itself still logs warnings");
        assert!(!plugins(&less).would_enable(PLUGIN, &tracing::Level::WARN));
    }
}
