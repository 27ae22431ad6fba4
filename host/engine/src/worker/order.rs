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
    /// Begin. With `with_host`, which gets the answer, the plugin starts, unless its manifest or its record forbids
    /// that. Then, handle a manifest that could not be used.
    Begin { with_host: Option<Reply<Generation>>, unusable: Option<ManifestError> },
    /// A file of the plugin's has changed.
    Changed(Change),
    /// The defaults for manifests have changed.
    NewDefaults,
    /// The plugin was removed and is back, with this manifest.
    Return(Arc<Manifest>),
    /// The plugin's folder is now where this manifest lies.
    Moved(Arc<Manifest>),
    /// Build, and serve the result as a new generation.
    Reload(Reply<Generation>),
    /// Make an earlier artifact serve again: this one, or the previous one.
    Rollback(Option<Digest>, Reply<Generation>),
    /// Start the plugin, unless it serves already.
    Start(StartWhy, Reply<Generation>),
    /// Use this configuration instead of the manifest's.
    Configure(Config, Reply<Configured>),
    /// Take no more calls, and end the instance.
    Stop(StopWhy, Reply<()>),
}

impl Order {
    /// How the order relates to a stop and to a running build.
    pub(super) fn request(&self) -> Request {
        match self {
            Self::Changed(_) => Request::Change,
            Self::Reload(_) | Self::Start(..) | Self::Rollback(..) | Self::Configure(..) => Request::Command,
            Self::Begin { .. } | Self::NewDefaults | Self::Return(_) | Self::Moved(_) => Request::Notice,
            Self::Stop(..) => Request::Stop,
        }
    }

    /// Answers an order that a stop has overtaken.
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
            // Nobody waits for an answer to the others.
            _ => {}
        }
    }
}

/// Where the answer to an order goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// Why a plugin is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartWhy {
    /// A user asked for it, which lifts a quarantine.
    Asked,
    /// The host starts it by itself.
    WithHost,
}

/// Why a plugin is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopWhy {
    /// A user asked for it.
    Asked,
    /// A user asked for it, and wants the plugin's state to be discarded.
    Discarded,
    /// A user asked for it, and wants the plugin to count as never started.
    Unregistered,
    /// The plugin's folder or manifest is gone.
    Removed,
    /// The manifest has another id now, and belongs to another plugin.
    Renamed,
    /// The host shuts down.
    ShutDown,
}

impl StopWhy {
    /// Whether the plugin is to run after this stop, if the stop decides that.
    pub(super) fn wanted(self) -> Option<Wanted> {
        match self {
            Self::Asked | Self::Discarded => Some(Wanted::Stopped),
            Self::Unregistered => Some(Wanted::Unregistered),
            // If the plugin comes back, it counts as a new one.
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
