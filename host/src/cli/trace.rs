//! Where `tracing` events go: the host's own to the standard error, those of plugins to whoever reads the host's events.

use clap::Args;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

/// How much is said of what goes on inside.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Log {
    /// What to show of the plugins' logs: off, error, warn, info, debug or trace [default: info]
    ///
    /// Without it, RUST_LOG decides; the host's own logs go by RUST_LOG alone.
    #[arg(long, value_name = "LEVEL")]
    log: Option<LevelFilter>,
}

/// The target under which the host passes on what plugins log.
const PLUGIN: &str = "plugin";

/// A listener that wants the plugins' events and does nothing with them: they arrive as events of the host. Plugins
/// send no more than someone wants.
struct Wants;

impl Layer<Registry> for Wants {}

impl Log {
    /// Begins to listen, for a command that shows the host's events.
    pub(super) fn listen(self) {
        self.install(&std::env::var("RUST_LOG").unwrap_or_default());
    }

    fn install(self, rust_log: &str) {
        let plugins = Wants.with_filter(Targets::new().with_target(PLUGIN, self.plugins(rust_log)));
        let own = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into()).parse_lossy(rust_log);
        let own = match format!("{PLUGIN}=off").parse() {
            Ok(directive) => own.add_directive(directive),
            Err(_) => own,
        };
        let own = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(super::terminal::stderr_has_colour())
            .with_filter(own);
        // Only this function sets it, once; a second one would be the one to give way.
        let _ = tracing_subscriber::registry().with(vec![plugins.boxed(), own.boxed()]).try_init();
    }

    fn plugins(self, rust_log: &str) -> LevelFilter {
        let from_env = || {
            let targets: Targets = rust_log.parse().ok().filter(|_| !rust_log.is_empty())?;
            let named = targets.iter().find(|(target, _)| *target == PLUGIN).map(|(_, level)| level);
            named.or(targets.default_level())
        };
        self.log.or_else(from_env).unwrap_or(LevelFilter::INFO)
    }
}

/// Begins to listen, for a command that ends with its answer: only what the host warns of is said.
pub(super) fn quietly() {
    Log { log: Some(LevelFilter::OFF) }.listen();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_asked_for_more_than_is_printed_of_the_host() {
        Log { log: None }.install("");
        assert_eq!(LevelFilter::current(), LevelFilter::INFO);
    }

    #[test]
    fn the_option_goes_before_rust_log_and_that_before_the_default() {
        let debug = Log { log: Some(LevelFilter::DEBUG) };
        let unsaid = Log { log: None };
        assert_eq!(debug.plugins("plugin=error"), LevelFilter::DEBUG);
        assert_eq!(unsaid.plugins("warn,plugin=error"), LevelFilter::ERROR);
        assert_eq!(unsaid.plugins("trace"), LevelFilter::TRACE);
        assert_eq!(unsaid.plugins("replug=debug"), LevelFilter::INFO);
        assert_eq!(unsaid.plugins(""), LevelFilter::INFO);
    }
}
