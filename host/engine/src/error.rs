//! The errors of a host, sorted by consequence.
//!
//! * [`CallError`]: one call returned no result. The next call may succeed.
//! * [`ReloadError`]: one reload failed. The previous generation keeps serving.
//! * [`HostError`]: the host did not execute a request. The request changed nothing.

pub use crate::{
    artifact::{InspectError, StoreError},
    build::BuildError,
    config::ConfigError,
    demotion::{Demotion, Treatment},
    interface::InterfaceMismatch,
    load::{
        LoadError,
        process::{ProcessError, TrialError},
    },
    manifest::ManifestError,
    preflight::PreflightError,
    registry::{NoMembarrier, PauseError, TooManyGenerations, body::LifecycleError},
    watch::WatchError,
};
pub use replug_api::{CallError, call::Death};
pub use replug_model::step::Step;

use crate::{
    event::{Diagnostic, Stage},
    id::{Digest, PluginId},
};
use replug_api::PluginError;
use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// A new version failed to start. The previous generation keeps serving, with its state unchanged.
#[derive(Clone, thiserror::Error)]
#[error("{plugin}: {} failed: {cause}", self.stage.name())]
pub struct ReloadError {
    /// The plugin.
    pub plugin: PluginId,
    /// The stage that failed.
    pub stage: Stage,
    /// The cause, which includes what to do.
    #[source]
    pub cause: Arc<ReloadCause>,
}

crate::readable::readable!(ReloadError);

/// The cause of a [`ReloadError`].
#[derive(thiserror::Error)]
#[expect(missing_docs, reason = "each variant is the error of its stage")]
#[non_exhaustive]
pub enum ReloadCause {
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Build(#[from] BuildError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Inspect(#[from] InspectError),
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Process(#[from] ProcessError),
    #[error(transparent)]
    Trial(#[from] TrialError),
    #[error(transparent)]
    Interface(#[from] InterfaceMismatch),
    #[error(transparent)]
    TooMany(#[from] TooManyGenerations),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
    #[error("the health check of the new version failed: {0}")]
    Unhealthy(String),
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error(
        "`{step}` did not end within {}: the reload is abandoned, and so is the thread that runs it; {rest}; make the step shorter, or raise `step_timeout` under [process]",
        humantime::format_duration(*.deadline)
    )]
    Overdue { step: Step, deadline: Duration, rest: &'static str },
    #[error(
        "`{step}` did not end within {}: its thread is abandoned; make the step shorter, or raise `step_timeout` under [process]",
        humantime::format_duration(*.deadline)
    )]
    Late { step: Step, deadline: Duration },
    #[error("cannot create {path}: {source}")]
    DataDir { path: PathBuf, source: io::Error },
    #[error("{0}")]
    Quarantined(Box<Demotion>),
    #[error("{0}")]
    LeftAlone(String),
    #[error("artifact {} is no longer in the store: reload to build it again", .0.short())]
    NotStored(Digest),
    #[error("there is no earlier version to go back to")]
    NothingEarlier,
    #[error(
        "{cause}; the state that was saved when the plugin stopped is kept in {}: start a version that can read it, or discard it with `replug stop --discard` or `Host::stop_and_discard`",
        file.display()
    )]
    StateRefused { cause: Arc<ReloadCause>, file: PathBuf },
    #[error("internal error: the reload failed: {0}")]
    Bug(String),
}

crate::readable::readable!(ReloadCause);

impl ReloadCause {
    /// The compiler's messages. Empty if a stage other than the build has failed.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Build(error) => error.diagnostics(),
            _ => &[],
        }
    }

    /// If a plugin has rejected its configuration and named a key: this key as in the manifest, such as `config.port`.
    /// Otherwise `None`.
    pub(crate) fn unfit_config_key(&self) -> Option<String> {
        let (Self::Lifecycle(error) | Self::Trial(TrialError::Lifecycle(error))) = self else { return None };
        let details: serde_json::Value = serde_json::from_str(&error.details).ok()?;
        let key = details.get("key").filter(|_| error.code == PluginError::BAD_CONFIG)?.as_str()?;
        Some(format!("config.{key}").trim_end_matches('.').to_owned())
    }
}

/// Why the host did not execute a request.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The plugins folder cannot be used.
    #[error(transparent)]
    Plugins(Arc<ManifestError>),
    /// The state folder cannot be used.
    #[error("cannot use the state folder {path}: {reason}; choose another folder with `state_dir`")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The plugins folder cannot be watched.
    #[error(transparent)]
    Watch(Arc<WatchError>),
    /// The kernel lacks a feature that swaps need.
    #[error(transparent)]
    Kernel(#[from] NoMembarrier),
    /// The host's own threads cannot be started.
    #[error("cannot start the host's threads: {0}")]
    Threads(String),
    /// There is no such plugin.
    #[error("no plugin `{id}`{suggestion}")]
    UnknownPlugin {
        /// The id that was requested.
        id: String,
        /// The end of the message, which names the most similar id or all ids.
        suggestion: String,
    },
    /// The plugin does not offer the interface with the host's signatures.
    #[error(transparent)]
    Interface(#[from] InterfaceMismatch),
    /// The new version failed to start.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// There is no earlier version to roll back to.
    #[error(
        "{plugin}: there is no earlier version to go back to: no other version has served before, or the store no longer has that version; edit the source, or keep more versions with `keep_artifacts`"
    )]
    NoEarlierVersion {
        /// The plugin.
        plugin: PluginId,
    },
    /// The plugin's state does not allow the request.
    #[error("{plugin}: {reason}")]
    WrongState {
        /// The plugin.
        plugin: PluginId,
        /// The plugin's state, and what to do.
        reason: String,
    },
    /// An attachment of the host failed to bind: see [`HostBuilder::attach`](crate::HostBuilder::attach).
    #[error(transparent)]
    Attachment(Arc<dyn std::error::Error + Send + Sync>),
    /// The host has shut down.
    #[error("the host has shut down")]
    ShutDown,
}

crate::readable::readable!(HostError);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_debug_form_of_an_error_is_its_message() {
        let no_folder = || Arc::new(ManifestError::NotAFolder { path: PathBuf::from("plugins") });
        let plugins = HostError::Plugins(no_folder());
        let cause = Arc::new(ReloadCause::Lifecycle(LifecycleError {
            plugin: "dev.test".into(),
            step: Step::Init,
            message: "no port".into(),
            code: "port".into(),
            details: String::new(),
        }));
        let reload = ReloadError { plugin: "dev.test".parse().unwrap(), stage: Stage::Load, cause };
        for error in [plugins, HostError::Reload(reload)] {
            // The standard library prints the debug form of an error that `main` returns.
            let returned: Box<dyn std::error::Error> = error.clone().into();
            assert_eq!(format!("Error: {returned:?}"), format!("Error: {error}"));
        }
    }
}
