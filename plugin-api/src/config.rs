//! Reads `[config]`. The errors name the invalid key.

use crate::PluginError;
use serde::de::DeserializeOwned;

/// Reads a `[config]` from JSON. An absent or empty `[config]` becomes the default value.
pub(crate) fn read<C: DeserializeOwned + Default>(json: &str) -> Result<C, PluginError> {
    if is_empty(json) {
        return Ok(C::default());
    }
    serde_json::from_str(json).map_err(|error| unfit(json, &error))
}

fn is_empty(json: &str) -> bool {
    matches!(json.split_whitespace().collect::<String>().as_str(), "" | "{}" | "null")
}

fn unfit(json: &str, error: &serde_json::Error) -> PluginError {
    let text = error.to_string();
    let problem = text.rsplit_once(" at line ").map_or(text.as_str(), |(problem, _)| problem);
    if problem.ends_with("expected unit") {
        let message = "the plugin takes no configuration: remove `[config]`";
        return PluginError::new(PluginError::BAD_CONFIG, message).with("key", "");
    }
    let mut key = key_at(json, offset(json, error.line(), error.column()));
    let mut remedy = "";
    if problem.starts_with("missing field") {
        // The offset belongs to the last key of the table in which the field is missing.
        key.truncate(key.rfind('.').unwrap_or(0));
        remedy = ": set it, or mark the field `#[serde(default)]`";
    }
    let at = if key.is_empty() { "[config]".to_owned() } else { format!("[config] {key}") };
    PluginError::new(PluginError::BAD_CONFIG, format!("{at}: {problem}{remedy}")).with("key", key)
}

/// The offset of the byte at serde_json's line and column (both from 1).
fn offset(json: &str, line: usize, column: usize) -> usize {
    let before: usize = json.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    before + column
}

/// The path of the key whose value ends at or continues beyond `end`, such as `limits.max_size` or `paths.2`.
///
/// Walks over valid JSON and tracks the path, because serde_json reports the position of an error, but not the key.
fn key_at(json: &str, end: usize) -> String {
    enum Level {
        Object { key: String },
        Array { index: usize },
    }
    let bytes = json.as_bytes();
    let end = end.min(bytes.len());
    let mut levels: Vec<Level> = Vec::new();
    let mut key_next = false;
    let mut at = 0;
    while at < end {
        match bytes[at] {
            b'{' => {
                levels.push(Level::Object { key: String::new() });
                key_next = true;
            }
            b'[' => levels.push(Level::Array { index: 0 }),
            // A closing bracket at the offset of the error still belongs to its value.
            b'}' | b']' if at + 1 < end => {
                levels.pop();
            }
            b',' if at + 1 < end => match levels.last_mut() {
                Some(Level::Array { index }) => *index += 1,
                Some(Level::Object { key }) => {
                    key.clear();
                    key_next = true;
                }
                None => {}
            },
            b'"' => {
                let start = at;
                at += 1;
                while at < bytes.len() && bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if key_next && let Some(Level::Object { key }) = levels.last_mut() {
                    *key = serde_json::from_str(json.get(start..=at).unwrap_or("\"\"")).unwrap_or_default();
                    key_next = false;
                }
            }
            _ => {}
        }
        at += 1;
    }
    let way = levels.iter().map(|level| match level {
        Level::Object { key } => key.clone(),
        Level::Array { index } => index.to_string(),
    });
    way.filter(|step| !step.is_empty()).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        paths: Vec<String>,
        limits: Limits,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Limits {
        size: u64,
        depth: u8,
    }

    fn refused(json: &str) -> String {
        read::<Config>(json).expect_err(json).message
    }

    #[test]
    fn an_absent_or_empty_config_is_the_default() {
        for json in ["", " ", "{}", "{ }", "null"] {
            assert_eq!(read::<Config>(json).expect(json), Config::default());
        }
    }

    #[test]
    fn an_invalid_config_is_rejected_with_the_key() {
        let cases = [
            (
                r#"{"paths":["a",7],"limits":{"size":1,"depth":1}}"#,
                "[config] paths.1: invalid type: integer `7`, expected a string",
            ),
            (
                r#"{"paths":[],"limits":{"size":"x","depth":1}}"#,
                "[config] limits.size: invalid type: string \"x\", expected u64",
            ),
            (
                r#"{"paths":[],"limits":{"size":1,"depth":300}}"#,
                "[config] limits.depth: invalid value: integer `300`, expected u8",
            ),
            (
                r#"{"paths":[],"limits":7}"#,
                "[config] limits: invalid type: integer `7`, expected struct Limits",
            ),
        ];
        for (json, message) in cases {
            assert_eq!(refused(json), message);
        }
        let remedy = "set it, or mark the field `#[serde(default)]`";
        assert_eq!(refused(r#"{"paths":[]}"#), format!("[config]: missing field `limits`: {remedy}"));
        let nested = refused(r#"{"paths":[],"limits":{"size":1}}"#);
        assert_eq!(nested, format!("[config] limits: missing field `depth`: {remedy}"));
        assert!(refused(r#"{"path":[]}"#).contains("unknown field `path`"));
    }

    #[test]
    fn a_config_for_a_plugin_without_configuration_is_rejected() {
        let error = read::<()>(r#"{"a":1}"#).expect_err("not a unit");
        assert_eq!(error.message, "the plugin takes no configuration: remove `[config]`");
        assert_eq!(error.details["key"], "", "the error is about the whole table");
    }
}
