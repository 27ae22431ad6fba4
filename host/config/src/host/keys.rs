//! The keys of a host's configuration: their names, their environment variables, and when a change takes effect.

use crate::manifest::{CONFIRM_KEYS, LIMITS_KEYS, RELOAD_KEYS};

pub(super) const TOP: &[&str] = &[
    "plugins",
    "state_dir",
    "watch",
    "watch_poll",
    "keep_artifacts",
    "retained_bytes_limit",
    "http",
    "defaults",
    "log",
    "otel",
];
pub(super) const HTTP: &[&str] = &["listen", "token_file", "allow_hosts", "tls_cert", "tls_key"];
pub(super) const LOG: &[&str] = &["filter", "plugins", "format"];
pub(super) const OTEL: &[&str] = &["endpoint"];

/// The keys that are lists of strings.
pub(super) const LISTS: &[&str] = &["http.allow_hosts"];

/// The keys whose changes take effect while the host runs. The same applies to all keys below `defaults`.
const LIVE: &[&str] = &["keep_artifacts", "retained_bytes_limit", "log.filter", "log.plugins"];

/// Whether a change of this key takes effect while the host runs.
pub(super) fn is_live(key: &str) -> bool {
    LIVE.contains(&key) || key.starts_with("defaults.")
}

/// All keys except the keys of tables.
pub(super) fn all() -> Vec<String> {
    let tables: [(&str, &[&str]); 6] = [
        ("http", HTTP),
        ("log", LOG),
        ("otel", OTEL),
        ("defaults.limits", LIMITS_KEYS),
        ("defaults.reload", RELOAD_KEYS),
        ("defaults.reload.confirm", CONFIRM_KEYS),
    ];
    let top = TOP.iter().filter(|key| !["http", "defaults", "log", "otel"].contains(key));
    let below =
        tables.into_iter().flat_map(|(table, keys)| keys.iter().map(move |key| format!("{table}.{key}")));
    top.map(|key| (*key).to_owned()).chain(below).collect()
}

/// The environment variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("REPLUG_{}", key.replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_keys_share_an_environment_variable() {
        let variables: BTreeSet<_> = all().iter().map(|key| variable(key)).collect();
        assert_eq!(variables.len(), all().len());
        assert_eq!(variable("http.token_file"), "REPLUG_HTTP_TOKEN_FILE");
    }

    #[test]
    fn config_md_lists_each_key_its_variable_and_when_it_takes_effect() {
        let manual = include_str!("../../../../docs/CONFIG.md");
        for key in all() {
            let row = manual.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
            let row = row.unwrap_or_else(|| panic!("`{key}` is missing in docs/CONFIG.md"));
            assert!(row.contains(&format!("`{}`", variable(&key))), "{row}");
            let when = if is_live(&key) { "| live |" } else { "| restart |" };
            assert!(row.ends_with(when), "{row}");
        }
    }
}
