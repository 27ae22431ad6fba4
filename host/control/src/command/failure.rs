//! Failures of calls. This module translates a [`CallError`] to an error code with its HTTP status, a message for
//! people, and a name for programs.

use super::error::{Code, ControlError};
use replug_engine::{CallError, Generation};
use serde_json::{Value, json};
use std::time::Duration;

/// Why a call has no result.
#[derive(Clone, Debug)]
pub struct CallFailure {
    /// The name of the failure's kind for programs; `None` for the plugin's own error, which is passed on unchanged.
    name: Option<&'static str>,
    /// The answer of the control plane.
    error: ControlError,
}

impl CallFailure {
    /// The failure in a host's answer to a call, given the number of its code, its message and its details.
    pub fn answered(code: u32, message: String, details: Value) -> Self {
        let known = Code::of(code);
        let name = match known {
            Some(Code::Refused) => None,
            Some(code) => Some(name(code)),
            None => Some(FAILED),
        };
        Self { name, error: ControlError::new(known.unwrap_or(Code::Bug), message).with(details) }
    }

    /// The plugin's own error, if the method returned one.
    pub fn own(&self) -> Option<&Value> {
        self.name.is_none().then_some(&self.error.details)
    }

    /// The message: what happened, and what to do.
    pub fn message(&self) -> &str {
        &self.error.message
    }

    /// The failure as JSON: the plugin's own error, unchanged, or else an object with `code`, the name of the failure's
    /// kind, and `message`.
    pub fn to_json(&self) -> Value {
        match self.name {
            None => self.error.details.clone(),
            Some(name) => json!({ "code": name, "message": self.error.message }),
        }
    }
}

impl From<CallError<Value>> for CallFailure {
    fn from(error: CallError<Value>) -> Self {
        let message = error.to_string();
        let of = |code| Self { name: Some(name(code)), error: ControlError::new(code, message) };
        let soon = Duration::from_secs(1);
        match error {
            CallError::Plugin(own) => {
                Self { name: None, error: ControlError::new(Code::Refused, plugin_message(&own)).with(own) }
            }
            CallError::Panicked { generation, location, message: words, .. } => of(Code::Panicked)
                .with(json!({ "generation": generation, "location": location, "panic": words })),
            CallError::NotImplemented { .. } => of(Code::UnknownMethod).called("not_implemented"),
            CallError::Unknown(_) => of(Code::UnknownMethod),
            CallError::NotRunning { .. } => of(Code::WrongState),
            CallError::BadArguments { .. } => of(Code::BadArguments),
            CallError::BadResult { .. } => of(Code::BadResult),
            CallError::TooDeep { .. } => of(Code::BadResult).called("too_deep"),
            CallError::Crashed { generation, death, stderr_tail, .. } => of(Code::Crashed)
                .with(json!({
                    "generation": Generation(generation), "death": death.to_string(), "stderr_tail": stderr_tail
                }))
                .retry(soon),
            CallError::Timeout { after_ms, .. } => of(Code::Deadline).with(json!({ "after_ms": after_ms })),
            CallError::NoConnection { .. } => of(Code::Busy).called("no_connection").retry(soon),
            CallError::Restarting { retry_in_ms, .. } => {
                of(Code::Restarting).retry(Duration::from_millis(retry_in_ms))
            }
            _ => of(Code::Bug),
        }
    }
}

impl From<CallFailure> for ControlError {
    fn from(failure: CallFailure) -> Self {
        failure.error
    }
}

impl CallFailure {
    fn with(self, details: Value) -> Self {
        Self { error: self.error.with(details), ..self }
    }

    fn retry(self, after: Duration) -> Self {
        Self { error: self.error.retry(after), ..self }
    }

    /// This failure with the name `name`, which is more precise than the name of its code.
    fn called(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }
}

/// The name of every failure that has no specific name.
const FAILED: &str = "failed";

/// The name of a call's failure for programs.
fn name(code: Code) -> &'static str {
    match code {
        Code::Panicked => "panicked",
        Code::WrongState => "not_running",
        Code::UnknownMethod => "unknown",
        Code::BadArguments => "bad_arguments",
        Code::BadResult => "bad_result",
        _ => FAILED,
    }
}

/// The message of a plugin's own error: its field `message` or, without that field, the whole error as JSON.
fn plugin_message(own: &Value) -> String {
    match own.get("message").unwrap_or(own) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_own_error_keeps_its_message_and_its_json() {
        let own =
            json!({ "code": "divide_by_zero", "message": "cannot divide by zero", "details": { "a": 1 } });
        let error = ControlError::from(CallFailure::from(CallError::Plugin(own.clone())));
        assert_eq!((error.code, error.message.as_str()), (Code::Refused, "cannot divide by zero"));
        assert_eq!(error.details, own);
        let error = ControlError::from(CallFailure::from(CallError::Plugin(json!({ "TooLate": 3 }))));
        assert_eq!(error.message, "{\"TooLate\":3}");
    }

    #[test]
    fn a_call_failure_has_the_same_code_at_the_host_and_at_the_client() {
        let (plugin, method, message) = (String::new, String::new, String::new);
        let failures = [
            (
                CallError::Panicked {
                    plugin: plugin(),
                    generation: 1,
                    method: method(),
                    message: message(),
                    location: String::new(),
                },
                (42201, "panicked", "panicked"),
            ),
            (
                CallError::NotImplemented { plugin: plugin(), generation: 1, method: method() },
                (40402, "not_implemented", "unknown"),
            ),
            (
                CallError::NotRunning { plugin: plugin(), reason: String::new() },
                (40900, "not_running", "not_running"),
            ),
            (CallError::Unknown(message()), (40402, "unknown", "unknown")),
            (
                CallError::BadArguments { plugin: plugin(), method: method(), message: message() },
                (40001, "bad_arguments", "bad_arguments"),
            ),
            (
                CallError::BadResult { plugin: plugin(), method: method(), message: message() },
                (42203, "bad_result", "bad_result"),
            ),
            (CallError::TooDeep { plugin: plugin(), depth: 9 }, (42203, "too_deep", "bad_result")),
            (
                CallError::Timeout { plugin: plugin(), generation: 1, method: method(), after_ms: 5 },
                (50400, "failed", "failed"),
            ),
            (
                CallError::NoConnection { plugin: plugin(), method: method(), reason: String::new() },
                (42900, "no_connection", "failed"),
            ),
            (CallError::Restarting { plugin: plugin(), retry_in_ms: 5 }, (50300, "failed", "failed")),
        ];
        for (error, (code, here, there)) in failures {
            let words = error.to_string();
            let failure = CallFailure::from(error);
            assert_eq!(failure.to_json(), json!({ "code": here, "message": words }));
            let answered = ControlError::from(failure);
            assert_eq!(answered.code.number(), code, "{words}");
            let received = CallFailure::answered(code, answered.message, answered.details);
            assert_eq!(received.to_json(), json!({ "code": there, "message": words }));
        }
    }

    #[test]
    fn a_plugins_own_error_is_unchanged_and_an_unknown_code_is_a_failure() {
        let own = json!({ "code": "late", "message": "too late" });
        let received = CallFailure::answered(42200, "too late".into(), own.clone());
        assert_eq!((received.own(), received.to_json()), (Some(&own), own.clone()));
        let received = CallFailure::answered(42299, "it is new".into(), Value::Null);
        assert_eq!((received.own(), received.to_json()["code"].as_str()), (None, Some("failed")));
    }
}
