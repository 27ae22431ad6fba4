//! Errors of requests: a number for programs and a message for people.

use replug_engine::error::{HostError, ReloadCause, ReloadError};
use serde_json::{Value, json};
use std::time::Duration;

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $code:ident = $number:literal,)+) => {
        /// The error numbers; 0 is success. The first three digits are the HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Code {
            $($(#[doc = $doc])+ $code = $number,)+
        }

        impl Code {
            /// The code with this number, if there is one.
            pub fn of(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$code),)+
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// The request is invalid: not JSON, an unknown or missing key, a number out of range.
    BadInput = 40000,
    /// The arguments do not fit the method.
    BadArguments = 40001,
    /// The request has no token.
    NoToken = 40100,
    /// The token of the request is wrong.
    WrongToken = 40101,
    /// The `Host` header does not name this host.
    ForeignHost = 40300,
    /// A page of another site sent the request.
    ForeignOrigin = 40301,
    /// A process of another user sent the request over the socket.
    ForeignUser = 40302,
    /// A process of a plugin sent the request, or a process that cannot be distinguished from a plugin's.
    OwnPlugin = 40303,
    /// The path does not exist.
    UnknownPath = 40400,
    /// The plugin does not exist.
    UnknownPlugin = 40401,
    /// The plugin has no such method.
    UnknownMethod = 40402,
    /// The plugin has no such earlier version.
    UnknownVersion = 40403,
    /// The path does not accept this HTTP method.
    WrongMethod = 40500,
    /// The body did not arrive in time.
    SlowBody = 40800,
    /// The plugin's state does not allow the request.
    WrongState = 40900,
    /// The body is too large.
    TooLarge = 41300,
    /// The content type of the body is not JSON.
    NotJson = 41500,
    /// The plugin's method returned an error of its own.
    Refused = 42200,
    /// The plugin panicked.
    Panicked = 42201,
    /// The new version failed to start serving; the previous version keeps serving.
    ReloadFailed = 42202,
    /// The plugin's answer cannot be passed on.
    BadResult = 42203,
    /// Too many requests run already.
    Busy = 42900,
    /// The host itself failed.
    Bug = 50000,
    /// The plugin is starting.
    Restarting = 50300,
    /// The plugin's process died during the call.
    Crashed = 50301,
    /// The host is shutting down.
    ShutDown = 50302,
    /// The call did not end before its deadline.
    Deadline = 50400,
}

impl Code {
    /// The number in the answer.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        (self as u32 / 100) as u16
    }
}

/// The error of a request.
#[derive(Clone, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// The kind of the error.
    pub code: Code,
    /// What happened, and what to do.
    pub message: String,
    /// More details, depending on the kind; often null.
    pub details: Value,
    /// The time after which a retry may succeed, if the error is temporary.
    pub retry_after: Option<Duration>,
}

replug_model::readable::readable!(ControlError);

impl ControlError {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Value::Null, retry_after: None }
    }

    /// This error with details.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// This error with the time after which to retry.
    #[must_use]
    pub fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// The outcome for the audit, such as `UnknownPlugin (40401)`.
    pub(crate) fn outcome(&self) -> String {
        format!("{:?} ({})", self.code, self.code.number())
    }
}

impl From<HostError> for ControlError {
    fn from(error: HostError) -> Self {
        let message = error.to_string();
        match error {
            HostError::UnknownPlugin { id, .. } => {
                Self::new(Code::UnknownPlugin, message).with(json!({ "id": id }))
            }
            HostError::WrongState { .. } | HostError::NoEarlierVersion { .. } => {
                Self::new(Code::WrongState, message)
            }
            HostError::Reload(error) => of_reload(&error, message),
            HostError::ShutDown => Self::new(Code::ShutDown, message),
            _ => Self::new(Code::Bug, message),
        }
    }
}

fn of_reload(error: &ReloadError, message: String) -> ControlError {
    let code = match &*error.cause {
        ReloadCause::NothingEarlier | ReloadCause::Pause(_) => Code::WrongState,
        ReloadCause::NotStored(_) => Code::UnknownVersion,
        _ => Code::ReloadFailed,
    };
    let mut details = json!({ "stage": error.stage });
    match &*error.cause {
        ReloadCause::Build(build) => details["diagnostics"] = json!(build.diagnostics()),
        ReloadCause::Lifecycle(own) => {
            // The details are a text: JSON or, for a panic, its location.
            let more = serde_json::from_str(&own.details).unwrap_or_else(|_| json!(own.details));
            details["error"] = json!({ "code": own.code, "message": own.message, "details": more });
        }
        _ => {}
    }
    ControlError::new(code, message).with(details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_three_digits_of_a_code_are_its_http_status() {
        assert_eq!((Code::UnknownMethod.number(), Code::UnknownMethod.status()), (40402, 404));
        assert_eq!(Code::Deadline.status(), 504);
        assert_eq!((Code::of(40402), Code::of(40499)), (Some(Code::UnknownMethod), None));
    }

    #[test]
    fn the_details_of_a_failed_lifecycle_step_are_parsed_as_json() {
        let own = replug_engine::error::LifecycleError {
            plugin: "a.b".into(),
            step: replug_engine::error::Step::Init,
            message: String::new(),
            code: "bad_config".into(),
            details: "{\"key\":\"word\"}".into(),
        };
        let error = ReloadError {
            plugin: "a.b".parse().unwrap(),
            stage: replug_engine::event::Stage::Load,
            cause: ReloadCause::Lifecycle(own).into(),
        };
        assert_eq!(of_reload(&error, String::new()).details["error"]["details"]["key"], "word");
    }
}
