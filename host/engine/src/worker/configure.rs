//! Applies a new configuration, from an edit of the manifest or from a command.

use super::{Worker, cause::Cause};
use crate::{
    error::{HostError, ReloadCause},
    event::{ConfiguredHow, EventKind, Stage, Stages},
    id::Generation,
    job::Source,
    lifecycle::{Config, Input, Next, Work},
    manifest::Manifest,
    registry::{Live, body::LifecycleError},
    step::Step,
};
use replug_api::PluginError;
use std::sync::Arc;

/// How a new configuration took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configured {
    /// The running instance has accepted the configuration.
    Live(Generation),
    /// The plugin asked for a new instance, which serves as this generation.
    Restarted(Generation),
    /// The plugin does not run, and will start with the configuration. The configuration was not checked: if the plugin
    /// rejects it, the start fails.
    AtStart,
}

impl Configured {
    /// How the configuration took effect, without the generation.
    pub fn how(self) -> ConfiguredHow {
        match self {
            Self::Live(_) => ConfiguredHow::Live,
            Self::Restarted(_) => ConfiguredHow::Restarted,
            Self::AtStart => ConfiguredHow::AtStart,
        }
    }
}

impl Worker {
    /// Gives the running instance its new configuration, or starts a new instance of the same artifact with it. Returns
    /// the result, and what an edit of the manifest still requires, such as a build.
    pub(super) async fn configure(
        &mut self,
        live: Arc<Live>,
        new: &Arc<Manifest>,
    ) -> (Result<Configured, HostError>, Next) {
        let done = self.hand_over(live, new).await;
        let next = match self.step(Input::ConfigureEnded { taken: done.is_ok() }) {
            Some(Work::GoOn(next)) => next,
            _ => Next::Nothing,
        };
        if let Ok(configured) = &done {
            self.record.change(|record| record.accepts(&new.config));
            self.emit(EventKind::Configured { how: configured.how() });
        }
        (done, next)
    }

    /// Passes the configuration to the running instance, or starts a new instance if the plugin requires one.
    async fn hand_over(&mut self, live: Arc<Live>, new: &Arc<Manifest>) -> Result<Configured, HostError> {
        let config = new.config_json();
        let (generation, digest) = (live.generation, live.digest);
        let answer = self.bounded((live.clone(), Step::OnConfig), move || live.configure(&config)).await;
        match answer {
            Ok(Ok(())) => Ok(Configured::Live(generation)),
            Ok(Err(LifecycleError { code, .. })) if code == PluginError::RESTART_REQUIRED => {
                let renewed = (Source::Stored(digest), new.clone());
                Ok(Configured::Restarted(self.install(renewed, Cause::resume(), Stages::default()).await?))
            }
            Ok(Err(error)) => Err(self.not_configured(error.into())),
            Err(bug) => Err(self.not_configured(bug)),
        }
    }

    fn not_configured(&mut self, cause: ReloadCause) -> HostError {
        let error = self.error(Stage::Load, cause);
        self.failed(&error);
        error.into()
    }

    /// Applies a configuration that a command sets. If the plugin rejects it, the previous configuration stays in
    /// force.
    pub(super) async fn configure_by_command(&mut self, config: Config) -> Result<Configured, HostError> {
        let live = self.shared.entry.live();
        match (self.step(Input::Configure { config, serves: live.is_some() }), live) {
            (Some(Work::Configure(new)), Some(live)) => self.configure(live, &new).await.0,
            _ => Ok(Configured::AtStart),
        }
    }
}
