//! replug keeps a Rust program running while the code it runs is replaced.
//!
//! A plugin is a `cdylib` written against a Rust trait. A [`Host`] loads it into its own process, watches its source,
//! rebuilds it on save, and swaps the new version in: no lost call, no lost state, and a failed edit changes nothing.
//!
//! ```no_run
//! use replug::{Handle, Host};
//! use replug_interfaces::Calculator;
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::builder().plugins("plugins").watch(true).build().await?;
//!
//! let calc: Handle<dyn Calculator> = host.get("dev.replug.calculator")?;
//! assert_eq!(calc.add(10.0, 5.0)?, 15.0); // always the newest generation
//!
//! let any = host.plugin("dev.replug.calculator")?;
//! let sum = any.invoke_json("add", json!({ "a": 10, "b": 5 })).await?;
//! assert_eq!(sum, json!(15.0));
//!
//! let mut events = host.events();
//! host.reload("dev.replug.calculator").await?;
//! println!("{:?}", events.next().await);
//! host.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A program without an async runtime writes `.wait()` where this one writes `.await`.
//!
//! # What plugins print
//!
//! A plugin in the program's process prints to the program's own standard output and error: they are the program's, and the
//! library leaves them where they lead. What a plugin logs with `tracing` goes to the program's subscriber, and what is to be kept
//! apart belongs there. What a plugin prints in a process of its own (`mode = "process"`) reaches that subscriber as well, line by
//! line, and never the program's output. The command `replug` puts pipes in the place of its descriptors 1 and 2 before it starts a
//! host; a program whose output is read by others, and that cannot vouch for its plugins, does the same in its `main`.
//!
//! # The way through the house
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
//! | `keeper.rs` | keeps the workers in step with the plugins folder |
//! | `bring_up.rs` | from an artifact to an instance, in the place that its mode and its past allow; before that, on trial |
//! | `demotion.rs` | the artifacts that have crashed a host, and what is done about them |
//! | `checkpoint.rs` | saved states on disk, for the host that comes after a crash |
//! | [`parent`] | a small process that starts the program again when a crash has ended it |
//! | `builder.rs`, `host.rs` | all plugins of a folder, for the program that embeds them |
//! | `attachment.rs` | what begins and ends with a host, and is no part of it |
//! | `config/`, `live.rs` | what a host is told, in layers, and what of it changes while it runs |
//! | `spans.rs` | what `tracing` shows of a reload |
//! | `control` | whoever talks to the running host: a socket, HTTP, one list of commands |
//! | [`event`], [`metrics`] | written by every stage, read by none of them |
//! | `snapshot.rs` | all numbers of a host at one moment, and their text for Prometheus |

#![forbid(unsafe_code)]

mod attachment;

mod bring_up;
mod builder;
mod checkpoint;
mod config;
#[cfg(feature = "control")]
pub mod control;
mod demotion;
pub mod error;
mod host;
mod info;
mod keeper;
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
#[cfg(feature = "control")]
pub(crate) use replug_runtime::{lineage, sweeper as sweep};
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
    artifacts_dir, default_state_dir, settle_state_dir,
};
pub use error::{CallError, HostError, ReloadError};
pub use event::{Event, EventKind, Events};
pub use handle::{DynHandle, Handle, Invocation, InvocationFuture, TimedHandle};
pub use host::{Host, WeakHost};
pub use id::{Digest, Generation, IllegalDigest, IllegalId, PluginId};
pub use info::{PluginInfo, Status, Version};
pub use live::{Applied, Unmet};
pub use load::process::ProcessUsage;
pub use pending::Pending;
pub use registry::{EntryCaller, TimedCaller};
pub use snapshot::{CallMetrics, Metrics, PluginMetrics};
pub use worker::Configured;
