//! replug keeps a Rust program running while the code it runs is replaced.
//!
//! A plugin is a `cdylib` that implements a Rust trait. A [`Host`] loads it into its own process, watches its source,
//! rebuilds it on save, and swaps the new version in. A reload loses no call and no state, and a failed edit changes
//! nothing.
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
//! A program without an async runtime calls `.wait()` instead of `.await`.
//!
//! # What plugins print
//!
//! A plugin in the program's process prints to the program's own standard output and error. They belong to the program,
//! and the library does not redirect them. What a plugin logs with `tracing` goes to the program's subscriber; output
//! that must be kept apart should be logged. What a plugin prints in a child process (`mode = "process"`) also goes to
//! that subscriber, line by line, and never to the program's output. The command `replug` replaces its descriptors 1
//! and 2 by pipes before it starts a host. A program whose output other programs read, and whose plugins may print,
//! should do the same in its `main`.
//!
//! # The crates
//!
//! This crate re-exports what embedding programs need of the others, and has no code of its own.
//!
//! | crate | what it does |
//! |---|---|
//! | `replug-control` | the control plane: commands over a socket and HTTP; with the feature `control` |
//! | `replug-engine` | all plugins of a folder: finds, reloads and supervises them, and keeps their records |
//! | `replug-runtime` | loads plugins, into this process and into child processes, and swaps them while callers use them |
//! | `replug-builder` | watches sources, builds them, and stores the artifacts |
//! | `replug-config` | `replug.toml`, and the manifests of plugins |
//! | `replug-wire` | the protocol between host and child process |
//! | `replug-model` | ids, events, metrics, limits |

#![forbid(unsafe_code)]

#[cfg(feature = "control")]
pub use replug_control as control;
pub use replug_engine::{
    Applied, Attachment, BoxError, BoxFuture, BuildDir, CallError, CallMetrics, Configured, Digest,
    DynHandle, EntryCaller, Event, EventKind, Events, Generation, Handle, Host, HostBuilder, HostConfig,
    HostError, HttpSettings, IllegalDigest, IllegalId, Invocation, InvocationFuture, Layers, LogFormat,
    LogSettings, Metrics, OtelSettings, Pending, PendingConfig, PluginId, PluginInfo, PluginMetrics,
    ProcessUsage, ReloadError, Starting, Status, TimedCaller, TimedHandle, TlsFiles, Version, WatchPoll,
    WeakHost, Workspace, artifacts_dir, default_state_dir, error, event, manifest, metrics, settle_state_dir,
};

/// The process that starts the program again when a crash has ended it.
pub mod parent {
    pub use replug_engine::parent::{supervise, supervise_until_interrupted};
}

/// The process that runs one plugin: this same program, run again.
pub mod shim {
    pub use replug_engine::shim::run_if_asked;
}
