//! The engine of a replug host: finds plugins, reloads and supervises them, and keeps their records from one host to
//! the next. The crate `replug` re-exports what embedding programs need.
//!
//! A [`Host`] runs all plugins of a folder. A [`HostBuilder`] holds the settings of a new host. An [`Attachment`] is a
//! component that starts and stops with a host, such as the control plane, which is in a crate that depends on this
//! crate.
//!
//! Guarantees of this crate: a reload that fails, or that is interrupted by the end or a crash of the host, changes
//! nothing. The host reports only facts that it has verified.
//!
//! | module | purpose |
//! |---|---|
//! | [`manifest`] | finds plugins, and reads their manifests |
//! | [`watch`] | reports changes of files as soon as they are saved |
//! | `reload.rs` | the path of a reload: calls its stages one after another, and is their only caller |
//! | `job.rs`, `context.rs` | the data of one reload, and the state that all reloads share |
//! | [`build`] | runs cargo or a script, and can be cancelled |
//! | [`artifact`] | stores artifacts by digest, and inspects them before any of their code runs |
//! | [`preflight`] | decides from the result of the inspection whether an artifact can be loaded |
//! | [`load`] | opens the artifact in this process and makes the instance |
//! | [`shim`] | the child process that opens the artifact and makes the instance if the plugin must not run in the host's process |
//! | `roles.rs` | selects the task of this program when a host executes it as a helper process |
//! | [`wire`] | the protocol between host and child process |
//! | `registry` | the serving generation, the swap, and the retirement of the old generation |
//! | `handle.rs` | the handles of callers; the path of a call uses only this module and the registry |
//! | `lifecycle/` | the state machine of a plugin: decides when to build, restart, roll back or quarantine |
//! | `worker/` | one task for each plugin, which carries out the plugin's commands one after another |
//! | `discovery.rs` | starts workers for new plugins, and stops removed plugins |
//! | `bring_up.rs` | runs the trial of an artifact, and makes an instance of it, in this process or in a child process |
//! | `stop_first.rs` | stops the serving version before the load, for `order = "stop-first"` |
//! | `demotion.rs` | the artifacts that have crashed, and whether they run in a child process or not at all |
//! | `atomic_file.rs` | writes a file completely or not at all |
//! | `checkpoint.rs` | saved states on disk, for the next instance of a plugin |
//! | `record/` | the records of plugins on disk, for the next host |
//! | [`parent`] | a small process that starts the program again after a crash |
//! | `builder.rs`, `host.rs` | the API for an embedding program; `host/attachment.rs` for components that start and stop with a host |
//! | `config/`, `live.rs` | the settings of a host, and how they change while it runs |
//! | `spans.rs` | the `tracing` spans of a reload |
//! | [`event`], [`metrics`] | events and counters, which every stage writes and no stage reads |
//! | `snapshot.rs` | all metrics of a host at one moment, and their text for Prometheus |

#![forbid(unsafe_code)]

mod atomic_file;
mod bring_up;
mod builder;
mod checkpoint;
mod config;
mod context;
mod demotion;
mod discovery;
pub mod error;
mod host;
mod info;
mod job;
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
mod spare;
mod stop_first;
mod worker;

pub use replug_api::{Interface, describe};
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
pub(crate) use replug_runtime::{handle, interface, process_stat, process_usage, program, registry};
pub use replug_runtime::{load, parent};
pub use replug_wire as wire;

/// The child process that runs one plugin. It executes the same program as the host.
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

pub use builder::HostBuilder;
pub use config::{
    HostConfig, HttpSettings, Layers, LogFormat, LogSettings, OtelSettings, TlsFiles, WatchPoll,
    artifacts_dir, default_state_dir, settle_state_dir, user_states,
};
pub use error::{CallError, Death, HostError, ReloadError};
pub use event::{Event, EventKind, Events};
pub use handle::{DynHandle, Handle, Invocation, InvocationFuture, Method, TimedHandle, TypedMethod};
pub use host::{Attachment, BoxError, BoxFuture, Host, Starting, WeakHost};
pub use id::{Digest, Generation, IllegalDigest, IllegalId, PluginId};
pub use info::{PluginInfo, Status, Version};
pub use live::{Applied, PendingConfig};
pub use pending::Pending;
pub use process_usage::ProcessUsage;
pub use registry::{EntryCaller, TimedCaller};
pub use snapshot::{CallMetrics, Metrics, PluginMetrics};
pub use worker::Configured;
