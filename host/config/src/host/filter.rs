//! Log filters: what is checked of them, and what they say of plugins.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;

/// The target under which the host passes on what plugins log.
const PLUGIN_TARGET: &str = "plugin";

/// Checks that a text is a filter as `tracing_subscriber::EnvFilter` reads it. The error says what it is not.
#[cfg(feature = "log-filter")]
pub(super) fn check(text: &str) -> Result<(), String> {
    match tracing_subscriber::EnvFilter::builder().parse(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The same, as far as it is known without that type: directives that name spans or fields are not checked.
#[cfg(not(feature = "log-filter"))]
pub(super) fn check(text: &str) -> Result<(), String> {
    match text.parse::<Targets>() {
        Err(error) if !text.contains('[') => Err(error.to_string()),
        _ => Ok(()),
    }
}

/// What a filter says of the events of plugins.
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
