//! The engine of a replug host: finds plugins, reloads and supervises them, and keeps their records from one host to
//! the next. The crate `replug` re-exports what embedding programs need.
//!
//! A [`Host`] is all plugins of a folder. A [`HostBuilder`] has its settings. An [`Attachment`] begins and ends with a
//! host, for example the control plane, which is in a crate that depends on this one.
//!
//! Guarantees of this crate: a step that fails changes nothing, even if the host ends or crashes. The host reports only
//! what it has verified.
//!
//! | module | what it does |
//! |---|---|
//! | [`manifest`] | finds plugins, and reads their manifests |
//! | [`watch`] | reports changes of files as soon as they are saved |
//! | `reload.rs` | the main path: the only caller of the stages below, in this order |
//! | [`build`] | runs cargo or a script, and can be cancelled |
//! | [`artifact`] | stores artifacts by digest, and reads them before any of their code runs |
//! | [`preflight`] | judges what [`artifact`] has read |
//! | [`load`] | opens the artifact in this process and makes the instance |
//! | [`shim`] | the child process that opens the artifact and makes the instance if the plugin must not run in the host's process |
//! | `roles.rs` | what this program becomes when a host runs it again |
//! | [`wire`] | the protocol between host and child |
//! | `registry` | the generation that serves, the swap, and the retirement of the old one |
//! | `handle.rs` | the handles of callers; the hot path goes through here and the registry only |
//! | `worker/` | one task for each plugin, which executes its commands one by one |
//! | `discovery.rs` | keeps the workers in step with the plugins folder |
//! | `bring_up.rs` | makes an instance of an artifact, in this process or a child process; before that, runs its trial |
//! | `demotion.rs` | the artifacts that have crashed a host, and where they run after that |
//! | `atomic_file.rs` | writes a file completely or not at all |
//! | `checkpoint.rs` | saved states on disk, for the next host after a crash |
//! | [`parent`] | a small process that starts the program again when a crash has ended it |
//! | `builder.rs`, `host.rs` | all plugins of a folder, for the program that embeds them |
//! | `attachment.rs` | components that begin and end with a host |
//! | `config/`, `live.rs` | the settings of a host, and how they change while it runs |
//! | `spans.rs` | the `tracing` spans of a reload |
//! | [`event`], [`metrics`] | written by every stage, read by none of them |
//! | `snapshot.rs` | all metrics of a host at one moment, and their text for Prometheus |

#![forbid(unsafe_code)]

mod atomic_file;
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
pub(crate) use replug_builder::{guard, mount};
pub use replug_config::manifest;
pub(crate) use replug_config::workspace;
pub use replug_config::workspace::{BuildDir, Workspace};
pub use replug_model::event;
#[doc(hidden)]
pub use replug_model::suggest;
pub(crate) use replug_model::{id, readable, step};
#[doc(hidden)]
pub use replug_runtime::crash;
pub(crate) use replug_runtime::{body, handle, process_stat, registry};
pub use replug_runtime::{load, parent};
pub use replug_wire as wire;

/// The process that runs one plugin: this same program, run again.
pub mod shim {
    pub use crate::roles::run_if_asked;
    pub use replug_runtime::shim::*;
}

/// Counters and durations of a running host.
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
