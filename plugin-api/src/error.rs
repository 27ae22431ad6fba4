//! Errors that a plugin reports to its host.

use crate::abi::ErrorReport;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{error::Error, fmt};

/// An error of a plugin's lifecycle: a code for programs, a message for people, and details.
///
/// `?` converts every [`std::error::Error`] into a `PluginError` with the code `error`. To allow this conversion,
/// `PluginError` is not a `std::error::Error` itself.
///
/// ```
/// use replug_api::PluginError;
///
/// let error = PluginError::new("no_such_folder", "the folder to serve does not exist").with("path", "/srv");
/// assert_eq!(error.to_string(), "the folder to serve does not exist");
/// assert_eq!(error.details["path"], "/srv");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct PluginError {
    /// The code of the error, for programs, in `snake_case`.
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// Additional data; [`Value::Null`] if there is none.
    pub details: Value,
}

impl PluginError {
    /// The code with which [`crate::Plugin::on_config`] requests a new instance with the new configuration.
    pub const RESTART_REQUIRED: &'static str = "restart_required";

    /// The code of an invalid configuration. The detail `key` is the invalid key.
    pub const BAD_CONFIG: &'static str = "bad_config";

    /// An error with a code and a message.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: Value::Null }
    }

    /// The same error with this detail, which replaces an earlier one with the same key. Details that are not an object
    /// are discarded. A detail that JSON cannot represent becomes `null`.
    #[must_use]
    pub fn with(mut self, key: &str, detail: impl Serialize) -> Self {
        let detail = serde_json::to_value(detail).unwrap_or_default();
        match &mut self.details {
            Value::Object(details) => {
                details.insert(key.to_owned(), detail);
            }
            other => *other = Value::Object(Map::from_iter([(key.to_owned(), detail)])),
        }
        self
    }

    /// The error with which [`crate::Plugin::on_config`] requests a new instance with the new configuration.
    pub fn restart_required() -> Self {
        Self::new(Self::RESTART_REQUIRED, "a new configuration needs a new instance")
    }

    /// The error with which [`crate::Plugin::restore`] rejects a state whose version it does not support; `newest` is
    /// the newest supported version.
    ///
    /// ```
    /// let error = replug_api::PluginError::unknown_state_version(3, 2);
    /// assert_eq!(error.code, "unknown_state_version");
    /// ```
    pub fn unknown_state_version(from_version: u32, newest: u32) -> Self {
        let message = format!(
            "the saved state has version {from_version}, which this plugin does not support (the newest version that it \
             supports is {newest}): support version {from_version} in `Plugin::restore`, or load a build of the plugin that supports it"
        );
        Self::new("unknown_state_version", message).with("from_version", from_version).with("newest", newest)
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}]", self.message, self.code)?;
        if self.details.is_null() { Ok(()) } else { write!(f, " {}", self.details) }
    }
}

impl<E: Error> From<E> for PluginError {
    fn from(error: E) -> Self {
        // The causes are part of the text, because they do not cross the boundary as values.
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let text = source.to_string();
            if !message.ends_with(&text) {
                message = format!("{message}: {text}");
            }
            cause = source.source();
        }
        Self::new("error", message)
    }
}

impl PluginError {
    /// Converts the error to its FFI form.
    pub fn into_report(self) -> ErrorReport {
        let details = if self.details.is_null() { String::new() } else { self.details.to_string() };
        ErrorReport { code: self.code.into(), message: self.message.into(), details: details.into() }
    }

    /// Converts the FFI form to the error. Details that are not JSON are kept as text.
    pub fn from_report(report: ErrorReport) -> Self {
        let details = match report.details.as_str() {
            "" => Value::Null,
            json => serde_json::from_str(json).unwrap_or_else(|_| Value::String(json.to_owned())),
        };
        Self { code: report.code.into(), message: report.message.into(), details }
    }
}
