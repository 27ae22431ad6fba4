//! Log filters: checks them, and determines the level that they set for plugins.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The target of the events that plugins log.
const PLUGIN_TARGET: &str = "plugin";

/// Checks that `tracing_subscriber::EnvFilter` accepts the text as a filter. The error is the reason why it does not.
#[cfg(feature = "log-filter")]
pub(super) fn check(text: &str) -> Result<(), String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The check without `EnvFilter`. It accepts every filter with `[`, because it cannot check directives that name spans
/// or fields.
#[cfg(not(feature = "log-filter"))]
pub(super) fn check(text: &str) -> Result<(), String> {
    match text.parse::<Targets>() {
        Err(error) if !text.contains('[') => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// The level that a filter sets for the events of plugins.
pub(super) fn of_plugins(filter: &str) -> Option<LevelFilter> {
    let targets: Targets = filter.parse().ok()?;
    let named = targets.iter().find(|(target, _)| *target == PLUGIN_TARGET).map(|(_, level)| level);
    named.or(targets.default_level())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn a_filter_is_a_level_or_directives() {
        for good in
            ["info", "warn,replug=debug", "off", "replug::engine=trace,plugin=info", "warn,[build]=debug"]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["replug=loud", "warn,replug=debug=info"] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
