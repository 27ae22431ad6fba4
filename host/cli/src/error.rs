//! Why a command failed, in words for the one who typed it.

use replug::error::{ConfigError, HostError, InspectError, ManifestError, ReloadCause, StoreError};
use replug::{control::Code, event::Diagnostic};
use serde_json::Value;
use std::{io, process::ExitCode};

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    /// The command was not understood.
    #[error("{0}")]
    Usage(String),
    /// There is neither a plugins folder nor a plugin here.
    #[error(
        "there is no folder `plugins` here, nor a plugin.toml, nor a replug.toml that names `plugins`: name the folder that holds your plugins, with `{how}`, or make a plugin with `{} new my-plugin`",
        super::terminal::invocation()
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
    /// Something cannot be found that was named.
    #[error("{0}")]
    NotFound(String),
    /// There is no host to talk to.
    #[error(
        "no host runs for {plugins} (nothing listens on {socket}): start one with `{} dev {plugins}`",
        super::terminal::invocation()
    )]
    NoHost { plugins: String, socket: String },
    /// There is a host, and this user may not talk to it.
    #[error(
        "the host of {plugins} belongs to user {user}, and nobody else may open its socket: run this as that user, as with `sudo -u {user}`"
    )]
    OthersHost { plugins: String, user: String },
    /// Whether there is a host cannot be known.
    #[error(
        "cannot connect to {socket}, where the host listens: {source}; run this as the user whose host it is, with XDG_RUNTIME_DIR as that one has it"
    )]
    Unreachable { socket: String, source: io::Error },
    /// What listens may be another user's.
    #[error(
        "refusing to connect to {socket}, which may be another user's: {reason}; have that removed, or set XDG_RUNTIME_DIR, also for the host, to a folder that is yours"
    )]
    Foreign { socket: String, reason: String },
    /// The host is there and says nothing.
    #[error(
        "the host on {socket}{process} does not answer: it may be stopped, as by Ctrl-Z, or stuck; let it go on with `kill -CONT`, or end it and start it again"
    )]
    Silent { socket: String, process: String },
    /// The host was asked, and gave no answer.
    #[error(
        "the host on {socket} ended before it had answered: `{0} status --watch` shows when it is back, and then `{0} events --recent` what happened",
        super::terminal::invocation()
    )]
    BrokeOff { socket: String },
    /// The host could not be talked to, or said something that is not understood.
    #[error("the host on {socket} {reason}; is it another version of replug, or has it just ended?")]
    Conversation { socket: String, reason: String },
    /// The host did not say goodbye.
    #[error(
        "the host on {socket} exited unexpectedly: it was killed, or a plugin crashed it; `{} status --watch` shows when it is back",
        super::terminal::invocation()
    )]
    Lost { socket: String },
    /// The host did not do it.
    #[error("{message}")]
    Answered { code: u32, message: String, details: Value, diagnostics: Vec<Diagnostic> },
    /// The plugin could be asked, and did not give what it was asked for.
    #[error("{0}")]
    Refused(String),
    /// What went wrong is printed already.
    #[error("")]
    Told,
    /// A signal ended it.
    #[error("interrupted")]
    Interrupted,
    #[error("cannot start the threads of this command: {0}")]
    Threads(io::Error),
    #[error("traces cannot be sent: {0}; mend `otel.endpoint`, or leave it out")]
    Export(String),
    #[error("cannot write to the standard output: {0}")]
    Output(io::Error),
}

impl CliError {
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            // As a shell reports a command that SIGINT has ended.
            Self::Interrupted => ExitCode::from(130),
            // Whoever reads has had enough: that is no failure.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }

    /// Whether there is nothing more to say.
    pub(super) fn is_told(&self) -> bool {
        match self {
            Self::Told => true,
            Self::Output(error) => error.kind() == io::ErrorKind::BrokenPipe,
            _ => false,
        }
    }

    /// Whether the host that was asked is not there, or no longer, and may come back.
    pub(super) fn is_of_a_host_that_is_gone(&self) -> bool {
        match self {
            Self::NoHost { .. } | Self::Silent { .. } | Self::BrokeOff { .. } | Self::Conversation { .. } => {
                true
            }
            Self::Answered { code, .. } => *code == Code::ShutDown.number(),
            _ => false,
        }
    }

    /// The compiler's messages, if it was the compiler that refused.
    pub(super) fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Answered { diagnostics, .. } => diagnostics,
            Self::Host(HostError::Reload(error)) => match &*error.cause {
                ReloadCause::Build(error) => error.diagnostics(),
                _ => &[],
            },
            _ => &[],
        }
    }

    /// A file or folder could not be made or read.
    pub(super) fn io(what: &str, path: &std::path::Path, remedy: &'static str) -> impl Fn(io::Error) -> Self {
        let what = format!("{what} {}", path.display());
        move |source| Self::Io { what: what.clone(), source, remedy }
    }
}
