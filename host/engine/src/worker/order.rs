//! The orders that a worker takes, and how it answers them.

use super::{Config, Configured};
use crate::{
    error::HostError,
    id::{Digest, Generation, PluginId},
    lifecycle::Request,
    manifest::{Manifest, ManifestError},
    record::Wanted,
    watch::Change,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// An order to a worker.
pub(crate) enum Order {
    /// Begin, with the host that takes the plugin in. With someone to answer, it starts unless it is not to. An edit that
    /// could not be used then is looked at.
    Begin { with_host: Option<Reply<Generation>>, unusable: Option<ManifestError> },
    /// A file of the plugin's has changed.
    Changed(Change),
    /// Manifests fall back on something else than before.
    NewDefaults,
    /// The plugin was gone and is back, with this manifest.
    Return(Arc<Manifest>),
    /// The plugin's folder is now where this manifest lies.
    Moved(Arc<Manifest>),
    /// Build, and serve the result as a new generation.
    Reload(Reply<Generation>),
    /// Serve an earlier artifact again: that one, or the one before.
    Rollback(Option<Digest>, Reply<Generation>),
    /// Serve, if not already.
    Start(StartWhy, Reply<Generation>),
    /// Take this configuration over, in place of the manifest's.
    Configure(Config, Reply<Configured>),
    /// Take no more calls, and end the instance.
    Stop(StopWhy, Reply<()>),
}

impl Order {
    /// What it means for others.
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Changed(_) => Request::Change,
            Self::Reload(_) | Self::Start(..) | Self::Rollback(..) | Self::Configure(..) => Request::Command,
            Self::Begin { .. } | Self::NewDefaults | Self::Return(_) | Self::Moved(_) => Request::Notice,
            Self::Stop(..) => Request::Stop,
        }
    }

    /// Answers an order that is overtaken by a stop.
    pub(super) fn refuse(self, plugin: &PluginId) {
        let refusal =
            || HostError::WrongState { plugin: plugin.clone(), reason: "it was stopped meanwhile".into() };
        match self {
            Self::Reload(reply) | Self::Start(_, reply) | Self::Rollback(_, reply) => {
                let _ = reply.send(Err(refusal()));
            }
            Self::Configure(_, reply) => {
                let _ = reply.send(Err(refusal()));
            }
            // No one is to be answered.
            _ => {}
        }
    }
}

/// Where the answer to an order goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// Why a plugin is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartWhy {
    /// Someone asked for it, which lifts a quarantine.
    Asked,
    /// The host starts it by itself.
    WithHost,
}

/// Why a plugin is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopWhy {
    /// Someone asked for it.
    Asked,
    /// Someone asked for it, and has no use for the plugin's state.
    Discarded,
    /// Someone asked for it, and wants the plugin to count as never started.
    Unregistered,
    /// Its folder or manifest is gone.
    Removed,
    /// Its manifest has another id now, and is another plugin's.
    Renamed,
    /// The host shuts down.
    ShutDown,
}

impl StopWhy {
    /// Whether the plugin is to run from now on, if the stop decides that.
    pub(super) fn wanted(self) -> Option<Wanted> {
        match self {
            Self::Asked | Self::Discarded => Some(Wanted::Stopped),
            Self::Unregistered => Some(Wanted::Unregistered),
            // If it comes back, it does so as if it had never been here.
            Self::Removed | Self::Renamed => Some(Wanted::AsManifest),
            Self::ShutDown => None,
        }
    }

    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Asked => "it was stopped; `start` it",
            Self::Discarded => "it was stopped and its state dropped; `start` it",
            Self::Unregistered => "it was unregistered; `start` it",
            Self::Removed => "its folder or manifest is gone",
            Self::Renamed => "its manifest has another id now, which makes it another plugin",
            Self::ShutDown => "the host has shut down",
        }
    }
}
