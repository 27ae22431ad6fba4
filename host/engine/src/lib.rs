//! The engine of a replug host: finds plugins, reloads and supervises them, and remembers them from one host to the next. The
//! crate `replug` hands on what embedding programs need.
//!
//! [`Host`] is all plugins of a folder, [`HostBuilder`] what it is told before it starts, and an [`Attachment`] what begins and ends
//! with it, such as the control plane, which is a crate above this one.
//!
//! What this crate promises: a step that fails changes nothing, over the end of a host and its crashes, too; and nothing is
//! reported before it was verified.
//!
//! | room | what it does |
//! |---|---|
//! | [`manifest`] | what is there: finds plugins and reads what they say of themselves |
//! | [`watch`] | what changed: tells of a save at its first sign |
//! | `reload.rs` | the main path: the only caller of the stages below, in this order |
//! | [`build`] | runs cargo or a script, and can be cut short |
//! | [`artifact`] | keeps what was built, by its digest, and reads it before anything runs |
//! | [`preflight`] | judges what was read |
//! | [`load`] | opens the artifact in this process and makes the instance |
//! | [`shim`] | the child process that does the same for a plugin that must not have the host's |
//! | `roles.rs` | what this program becomes when a host runs it again |
//! | [`wire`] | what host and child say to each other, without either process |
//! | `registry` | the generation that serves, the swap, and the end of the old one |
//! | `handle.rs` | what a caller holds; the hot path goes through here and the registry only |
//! | `worker/` | one task for each plugin, which takes orders one by one |
//! | `discovery.rs` | keeps the workers in step with the plugins folder |
//! | `bring_up.rs` | from an artifact to an instance, in the place that its mode and its past allow; before that, on trial |
//! | `demotion.rs` | the artifacts that have crashed a host, and what is done about them |
//! | `checkpoint.rs` | saved states on disk, for the host that comes after a crash |
//! | [`parent`] | a small process that starts the program again when a crash has ended it |
//! | `builder.rs`, `host.rs` | all plugins of a folder, for the program that embeds them |
//! | `attachment.rs` | what begins and ends with a host, and is no part of it |
//! | `config/`, `live.rs` | what a host is told, in layers, and what of it changes while it runs |
//! | `spans.rs` | what `tracing` shows of a reload |
//! | [`event`], [`metrics`] | written by every stage, read by none of them |
//! | `snapshot.rs` | all numbers of a host at one moment, and their text for Prometheus |

#![forbid(unsafe_code)]

mod attachment;
mod bring_up;
mod builder;
mod checkpoint;
mod config;
mod demotion;
mod discovery;
pub mod error;
mod host;
mod info;
mod lifecycle;
mod live;
mod overdue;
mod pending;
pub mod preflight;
mod record;
mod reload;
mod roles;
mod snapshot;
mod spans;
mod stop_first;
mod worker;

pub use replug_builder::{artifact, build, watch};
pub(crate) use replug_builder::{guard as orphans, mount};
pub use replug_config::manifest;
pub(crate) use replug_config::workspace;
pub use replug_config::workspace::{BuildDir, Workspace};
pub use replug_model::event;
#[doc(hidden)]
pub use replug_model::suggest;
pub(crate) use replug_model::{id, readable};
#[doc(hidden)]
pub use replug_runtime::crash;
pub(crate) use replug_runtime::{handle, process_stat, registry};
pub use replug_runtime::{load, parent};
pub use replug_wire as wire;

/// The process that runs one plugin: this same program, run again.
pub mod shim {
    pub use crate::roles::run_if_asked;
    pub use replug_runtime::shim::*;
}

/// What is counted and timed while a host runs.
pub mod metrics {
    pub use replug_model::{
        event::{PluginTally, ReloadOutcome},
        metrics::*,
    };
}

pub use attachment::{Attachment, BoxError, BoxFuture, Starting};
pub use builder::HostBuilder;
pub use config::{
    HostConfig, HttpSettings, Layers, LogFormat, LogSettings, OtelSettings, TlsFiles, WatchPoll,
    artifacts_dir, default_state_dir, settle_state_dir, user_states,
};
pub use error::{CallError, HostError, ReloadError};
pub use event::{Event, EventKind, Events};
pub use handle::{DynHandle, Handle, Invocation, InvocationFuture, TimedHandle};
pub use host::{Host, WeakHost};
pub use id::{Digest, Generation, IllegalDigest, IllegalId, PluginId};
pub use info::{PluginInfo, Status, Version};
pub use live::{Applied, PendingConfig};
pub use load::process::ProcessUsage;
pub use pending::Pending;
pub use registry::{EntryCaller, TimedCaller};
pub use snapshot::{CallMetrics, Metrics, PluginMetrics};
pub use worker::Configured;
