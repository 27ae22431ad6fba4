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
//! # The crates
//!
//! This one hands on what embedding programs need of the others, and has no code of its own.
//!
//! | crate | what it does |
//! |---|---|
//! | `replug-control` | whoever talks to the running host: a socket, HTTP, one list of commands; with the feature `control` |
//! | `replug-engine` | all plugins of a folder: finds, reloads, supervises and remembers them |
//! | `replug-runtime` | loads plugins, here and in processes of their own, and swaps them under their callers |
//! | `replug-builder` | watches sources, builds them, and keeps what was built |
//! | `replug-config` | `replug.toml`, and the manifests of plugins |
//! | `replug-wire` | what host and child process say to each other |
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
    WeakHost, Workspace, artifact, artifacts_dir, build, default_state_dir, error, event, load, manifest,
    metrics, parent, preflight, settle_state_dir, shim, watch, wire,
};
#[doc(hidden)]
pub use replug_engine::{crash, suggest};
