//! The errors of commands, with messages for the user.

use replug::error::{ConfigError, HostError, InspectError, ManifestError, StoreError};
use replug::{control::Code, event::Diagnostic};
use serde_json::Value;
use std::{io, process::ExitCode, time::Duration};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The arguments are invalid.
    #[error("{0}")]
    Usage(String),
    /// No plugins folder was given, and the default search has found none.
    #[error(
        "there is no folder `plugins` here, no plugin.toml, and no replug.toml that sets `plugins`: give the plugins folder with `{how}`, or create a plugin with `{} new my-plugin`",
        super::shell::invocation()
    )]
    NoPlugins { how: &'static str },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what}: {source}; {remedy}")]
    Io { what: String, source: io::Error, remedy: &'static str },
    /// The user has named something that does not exist.
    #[error("{0}")]
    NotFound(String),
    /// No host is running.
    #[error("no host runs for {plugins} (nothing listens on {socket}): {remedy}")]
    NoHost { plugins: String, socket: String, remedy: String },
    /// A host runs or is starting, and does not listen.
    #[error(
        "the host of {plugins} does not listen after {} s: check its output, or restart it",
        after.as_secs()
    )]
    NotListening { plugins: String, after: Duration },
    /// A host is running, but belongs to another user.
    #[error(
        "the host of {plugins} belongs to user {user}, and no other user may open its socket: run this as that user, for example with `sudo -u {user}`"
    )]
    OthersHost { plugins: String, user: String },
    /// It is unknown whether a host is running.
    #[error(
        "cannot connect to {socket}, where the host listens: {source}; run this as the user that runs the host, with the same XDG_RUNTIME_DIR"
    )]
    Unreachable { socket: String, source: io::Error },
    /// Another user may be listening on the socket.
    #[error(
        "refusing to connect to {socket}, which may belong to another user: {reason}; have it removed, or set XDG_RUNTIME_DIR, for the host and for this command, to a folder that you own"
    )]
    Foreign { socket: String, reason: String },
    /// The host runs, but does not answer.
    #[error(
        "the host on {socket}{process} does not answer: it may be stopped, for example by Ctrl-Z, or it may hang; continue it with `kill -CONT`, or restart it"
    )]
    Silent { socket: String, process: String },
    /// The host exited before it had answered.
    #[error(
        "the host on {socket} exited before it answered: `{0} status --watch` shows when it is back; then `{0} events --recent` shows what happened",
        super::shell::invocation()
    )]
    BrokeOff { socket: String },
    /// The connection to the host failed, or its answer is invalid.
    #[error("the host on {socket} {reason}; is it a different version of replug, or has it just exited?")]
    Conversation { socket: String, reason: String },
    /// The host exited without reporting that it stopped.
    #[error(
        "the host on {socket} exited unexpectedly: it was killed, or a plugin crashed it; `{} status --watch` shows when it is back",
        super::shell::invocation()
    )]
    Lost { socket: String },
    /// The host rejected the request.
    #[error("{message}")]
    Answered { code: u32, message: String, details: Value, diagnostics: Vec<Diagnostic> },
    /// The command failed for a reason that only the message describes, such as an error that a called method returned.
    #[error("{0}")]
    Refused(String),
    /// The command has already printed the error.
    #[error("")]
    Printed,
    /// A signal interrupted the command.
    #[error("interrupted")]
    Interrupted,
    #[error("cannot start the threads of this command: {0}")]
    Threads(io::Error),
    #[error("traces cannot be sent: {0}; correct `otel.endpoint`, or remove it")]
    Export(String),
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

impl CliError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            // The status that shells use for a command that SIGINT has killed: 128 + 2.
            Self::Interrupted => ExitCode::from(130),
            // It is not a failure if the reader has closed the pipe.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether no error message remains to be printed.
    pub(super) fn is_printed(&self) -> bool {
        match self {
            Self::Printed => true,
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    /// Whether the error means that the host is not running or does not answer, so that a later attempt may succeed.
    pub(super) fn is_host_unavailable(&self) -> bool {
        match self {
            Self::NoHost { .. }
            | Self::NotListening { .. }
            | Self::Silent { .. }
            | Self::BrokeOff { .. }
            | Self::Conversation { .. } => true,
            Self::Answered { code, .. } => *code == Code::ShutDown.number(),
            _ => false,
        }
    }

    /// The compiler's messages, if a source did not compile.
    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Answered { diagnostics, .. } => diagnostics,
            Self::Host(HostError::Reload(error)) => error.cause.diagnostics(),
            _ => &[],
        }
    }

    /// Makes the error for a file or folder that could not be created or read.
    pub(super) fn io(
        what: &str,
        path: &std::path::Path,
        remedy: &'static str,
    ) -> impl Fn(io::Error) -> Self + use<> {
        let what = format!("{what} {}", path.display());
        move |source| Self::Io { what: what.clone(), source, remedy }
    }
}
