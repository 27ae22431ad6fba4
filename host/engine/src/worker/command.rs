//! The commands of a worker, and their answers.

use super::{Config, Configured};
use crate::{
    error::HostError,
    id::{Digest, Generation, PluginId},
    lifecycle::{CommandKind, StopWhy},
    manifest::{Manifest, ManifestError},
    watch::Change,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// A command to a worker.
pub(crate) enum Command {
    /// The first command of each worker. If `with_host` is set, start the plugin, unless its manifest or its record
    /// forbids that; `with_host` gets an answer in both cases. If the manifest was `unusable`, the plugin starts with
    /// the last accepted manifest, and the worker then reads the manifest again.
    Begin { with_host: Option<Reply<Generation>>, unusable: Option<ManifestError> },
    /// A file of the plugin has changed.
    Changed(Change),
    /// The defaults for manifests have changed.
    NewDefaults,
    /// The plugin was removed, and was found again with this manifest.
    Return(Arc<Manifest>),
    /// The plugin's folder was moved to the folder of this manifest.
    Moved(Arc<Manifest>),
    /// Build, and serve the result as a new generation.
    Reload(Reply<Generation>),
    /// Roll back to this artifact. `None`: to the previous version.
    Rollback(Option<Digest>, Reply<Generation>),
    /// Start the plugin, unless it serves already.
    Start(StartWhy, Reply<Generation>),
    /// Use this configuration instead of the configuration of the manifest.
    Configure(Config, Reply<Configured>),
    /// Accept no more calls, and end the instance.
    Stop(StopWhy, Reply<()>),
}

impl Command {
    /// The kind of the command: whether it can supersede a running build, and whether a stop rejects it.
    pub(super) fn kind(&self) -> CommandKind {
        match self {
            Self::Changed(_) => CommandKind::Change,
            Self::Reload(_) | Self::Start(..) | Self::Rollback(..) | Self::Configure(..) => {
                CommandKind::Client
            }
            Self::Begin { .. } | Self::NewDefaults | Self::Return(_) | Self::Moved(_) => CommandKind::Notice,
            Self::Stop(..) => CommandKind::Stop,
        }
    }

    /// Rejects a command that a stop has made pointless.
    pub(super) fn refuse(self, plugin: &PluginId) {
        let refusal = || HostError::WrongState {
            plugin: plugin.clone(),
            reason: "it was stopped before the command began".into(),
        };
        match self {
            Self::Reload(reply) | Self::Start(_, reply) | Self::Rollback(_, reply) => {
                let _ = reply.send(Err(refusal()));
            }
            Self::Configure(_, reply) => {
                let _ = reply.send(Err(refusal()));
            }
            // Nobody waits for the answer to the other commands, or a stop does not reject them.
            _ => {}
        }
    }
}

/// The channel for the answer to a command.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// Why a plugin is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartWhy {
    /// A user starts the plugin, which ends a quarantine.
    Asked,
    /// The host starts the plugin.
    WithHost,
}

impl StopWhy {
    /// The reason that callers get and events state.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Asked => "it was stopped; `start` it",
            Self::Discarded => "it was stopped and its state discarded; `start` it",
            Self::Unregistered => "it was unregistered; `start` it",
            Self::Removed => "its folder or manifest is gone",
            Self::Renamed => "its manifest has a different id now, and belongs to a different plugin",
            Self::ShutDown => "the host has shut down",
        }
    }
}
