//! What several subcommands take: where the plugins are, what to call, how much to log.

use super::error::CliError;
use clap::Args;
use replug::manifest::holds_manifest;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Where the host keeps what it makes.
#[derive(Debug, Args)]
pub(super) struct State {
    /// Where to keep builds, artifacts and the plugins' data [default: .replug in the plugins folder]
    #[arg(long, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

impl State {
    /// The folder, for a host of these plugins.
    pub(super) fn dir(&self, plugins: &Path) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| replug::default_state_dir(plugins))
    }
}

/// The plugins folder: the one named, else what is here.
pub(super) fn plugins_dir(named: Option<&Path>) -> Result<PathBuf, CliError> {
    match named {
        Some(dir) => Ok(dir.to_owned()),
        None if Path::new("plugins").is_dir() => Ok("plugins".into()),
        None if holds_manifest(Path::new(".")) => Ok(".".into()),
        None => Err(CliError::NoPlugins),
    }
}

/// A call that the user asks for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct CallSpec {
    pub(super) plugin: String,
    pub(super) method: String,
    pub(super) arguments: Value,
}

impl CallSpec {
    /// Reads `ID METHOD [JSON]`.
    pub(super) fn new(plugin: &str, method: &str, arguments: Option<&str>) -> Result<Self, CliError> {
        let arguments = arguments.map_or(Ok(Value::Null), arguments_from)?;
        Ok(Self { plugin: plugin.into(), method: method.into(), arguments })
    }
}

/// Reads arguments: an object by name, or an array by position.
fn arguments_from(text: &str) -> Result<Value, CliError> {
    match serde_json::from_str(text) {
        Ok(arguments @ (Value::Object(_) | Value::Array(_) | Value::Null)) => Ok(arguments),
        Ok(single) => Err(CliError::Usage(format!(
            "the arguments are `{single}`, but must be an object by name or an array by position: write '[{single}]'"
        ))),
        Err(error) => Err(CliError::Usage(pointed_out(text, &error))),
    }
}

/// The error, with a mark below the character where the JSON stops making sense.
fn pointed_out(text: &str, error: &serde_json::Error) -> String {
    let problem = error.to_string();
    let problem = problem.rsplit_once(" at line ").map_or(problem.as_str(), |(problem, _)| problem);
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    // serde_json counts bytes; what a terminal shows is counted in characters.
    let before = line.char_indices().take_while(|(at, _)| at + 1 < error.column()).count();
    // A long line would wrap, and the mark point at nothing.
    let skipped = before.saturating_sub(60);
    let shown: String = line.chars().skip(skipped).take(72).collect();
    let hint = match Path::new(text).is_dir() {
        true => format!("\n  `{text}` is a folder: put it before the call"),
        false => String::new(),
    };
    format!("the arguments are not JSON: {problem}\n  {shown}\n  {:>1$}{hint}", '^', before - skipped + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_json_is_pointed_out_where_it_is_wrong() {
        let error = arguments_from(r#"{"a":10 "b":5}"#).unwrap_err().to_string();
        assert_eq!(
            error,
            "the arguments are not JSON: expected `,` or `}`\n  {\"a\":10 \"b\":5}\n          ^"
        );
        let error = arguments_from(r#"{"ä":10 "b":5}"#).unwrap_err().to_string();
        assert!(error.ends_with("\n          ^"), "{error}");
    }

    #[test]
    fn a_single_value_is_answered_with_how_to_write_it() {
        let error = arguments_from("\"World\"").unwrap_err().to_string();
        assert!(error.ends_with("write '[\"World\"]'"), "{error}");
    }

    #[test]
    fn arguments_go_by_name_or_by_position() {
        for text in ["{\"a\":1}", "[1]", "[]"] {
            assert_eq!(arguments_from(text).unwrap().to_string(), text);
        }
        assert!(arguments_from("").is_err());
    }
}
