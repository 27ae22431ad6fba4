//! What can go wrong, sorted by consequence.
//!
//! * [`CallError`]: this call gave no result; the next may.
//! * [`ReloadError`]: this reload did not happen; the generation before it goes on.
//! * [`HostError`]: the host did not do what it was asked; nothing else changed.

pub use crate::{
    artifact::{InspectError, StoreError},
    build::BuildError,
    config::ConfigError,
    demotion::{Demotion, Treatment},
    load::{
        InterfaceMismatch, LifecycleError, LoadError,
        process::{ProcessError, TrialError},
    },
    manifest::ManifestError,
    preflight::PreflightError,
    registry::{NoMembarrier, PauseError, TooManyGenerations},
    watch::WatchError,
};
pub use replug_api::CallError;

use crate::{
    event::Stage,
    id::{Digest, PluginId},
};
use std::{io, path::PathBuf, sync::Arc, time::Duration};

/// A new version did not come to serve. The generation before it goes on, with its state untouched.
#[derive(Clone, thiserror::Error)]
#[error("{plugin}: {} failed: {cause}", self.stage.name())]
pub struct ReloadError {
    /// The plugin.
    pub plugin: PluginId,
    /// The stage that refused.
    pub stage: Stage,
    /// Why, and what to do.
    #[source]
    pub cause: Arc<ReloadCause>,
}

crate::readable::readable!(ReloadError);

/// See [`ReloadError::cause`].
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
    Unwell(String),
    #[error(transparent)]
    Pause(#[from] PauseError),
    #[error(
        "`{step}` did not end within {}: the reload is abandoned, and the thread that runs it with it; {rest}; make it shorter, or raise `step_timeout` under [process]",
        humantime::format_duration(*.deadline)
    )]
    Overdue { step: &'static str, deadline: Duration, rest: &'static str },
    #[error(
        "`{step}` did not end within {}: it is left to its thread; make it shorter, or raise `step_timeout` under [process]",
        humantime::format_duration(*.deadline)
    )]
    Late { step: &'static str, deadline: Duration },
    #[error("cannot make {path}: {source}")]
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
        "{cause}; the state that was saved when the plugin stopped is kept in {}: start a version that can read it, or drop it with `replug stop --discard` or `Host::stop_and_discard`",
        file.display()
    )]
    StateRefused { cause: Arc<ReloadCause>, file: PathBuf },
    #[error("the reload itself broke off: {0}")]
    Bug(String),
}

crate::readable::readable!(ReloadCause);

impl ReloadCause {
    /// The key of the manifest that the plugin cannot read its configuration from, if that is what went wrong:
    /// `config.word`.
    pub(crate) fn unfit_config_key(&self) -> Option<String> {
        let (Self::Lifecycle(error) | Self::Trial(TrialError::Lifecycle(error))) = self else { return None };
        let details: serde_json::Value = serde_json::from_str(&error.details).ok()?;
        let key = details.get("key").filter(|_| error.code == "bad_config")?.as_str()?;
        Some(format!("config.{key}").trim_end_matches('.').to_owned())
    }
}

/// The host did not do what it was asked.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// The plugins folder cannot be used.
    #[error(transparent)]
    Plugins(Arc<ManifestError>),
    /// The folder for what the host makes cannot be used.
    #[error("cannot use {path} for what the host keeps: {reason}; choose another with `state_dir`")]
    StateDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The plugins folder cannot be watched.
    #[error(transparent)]
    Watch(Arc<WatchError>),
    /// The kernel lacks what swapping needs.
    #[error(transparent)]
    Kernel(#[from] NoMembarrier),
    /// The host's own threads cannot be started.
    #[error("cannot start the host's threads: {0}")]
    Threads(String),
    /// There is no such plugin.
    #[error("no plugin `{id}`{suggestion}")]
    UnknownPlugin {
        /// What was asked for.
        id: String,
        /// The nearest name, or all names.
        suggestion: String,
    },
    /// The plugin does not have the interface in the host's form.
    #[error(transparent)]
    Interface(#[from] InterfaceMismatch),
    /// The version did not come to serve.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// There is no version to go back to.
    #[error(
        "{plugin}: there is no earlier version to go back to: none has served before the one that serves, or the store has it no longer; edit the source, or keep more versions with `keep_artifacts`"
    )]
    NoEarlierVersion {
        /// The plugin.
        plugin: PluginId,
    },
    /// The plugin is not in a state for that.
    #[error("{plugin}: {reason}")]
    WrongState {
        /// The plugin.
        plugin: PluginId,
        /// What state it is in, and what to do.
        reason: String,
    },
    /// What is attached to the host cannot begin: see [`HostBuilder::attach`](crate::HostBuilder::attach).
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
    fn an_error_that_main_returns_is_printed_in_words() {
        let no_folder = || Arc::new(ManifestError::NotAFolder { path: PathBuf::from("plugins") });
        let plugins = HostError::Plugins(no_folder());
        let cause = Arc::new(ReloadCause::Lifecycle(LifecycleError {
            plugin: "dev.test".into(),
            step: "init",
            message: "no port".into(),
            code: "port".into(),
            details: String::new(),
        }));
        let reload = ReloadError { plugin: "dev.test".parse().unwrap(), stage: Stage::Load, cause };
        for error in [plugins, HostError::Reload(reload)] {
            // As the standard library prints it.
            let returned: Box<dyn std::error::Error> = error.clone().into();
            assert_eq!(format!("Error: {returned:?}"), format!("Error: {error}"));
        }
    }
}
