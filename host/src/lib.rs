//! replug is a plugin host that reloads Rust code while the program runs.
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
//! let add = any.method("add")?; // finds the method once
//! assert_eq!(add.call_json(&json!([10, 5]))?, json!(15.0));
//! let add = add.typed::<(f64, f64), f64>()?; // compares the types once
//! assert_eq!(add.call(&(10.0, 5.0))?, 15.0);
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
//! # Output of plugins
//!
//! A plugin in the program's process prints to the program's standard output and standard error. The library does not
//! redirect them, because they belong to the program. The `tracing` events of a plugin go to the program's subscriber.
//!
//! A plugin in a child process (`mode = "process"`) never prints to the program's output. The program's subscriber gets
//! each line that the plugin prints, as an event.
//!
//! If other programs read the program's output, and plugins in its process may print, the program should redirect
//! descriptors 1 and 2 in its `main`. The command `replug` replaces them with pipes before it starts a host.
//!
//! # The crates
//!
//! This crate has no code of its own. It re-exports the items of the other crates that embedding programs need.
//!
//! | crate | purpose |
//! |---|---|
//! | `replug-control` | the control plane: commands over a socket and HTTP; with the feature `control` |
//! | `replug-engine` | finds, reloads and supervises all plugins of a folder, and keeps their records |
//! | `replug-runtime` | loads plugins into this process and into child processes, and swaps generations during calls |
//! | `replug-builder` | watches and builds sources, and stores the artifacts |
//! | `replug-config` | reads `replug.toml` and the manifests of plugins |
//! | `replug-wire` | the protocol between host and child process |
//! | `replug-model` | ids, events, metrics, limits |

#![forbid(unsafe_code)]

#[cfg(feature = "control")]
pub use replug_control as control;
pub use replug_engine::{
    Applied, Attachment, BoxError, BoxFuture, BuildDir, CallError, CallMetrics, Configured, Death, Digest,
    DynHandle, EntryCaller, Event, EventKind, Events, Generation, Handle, Host, HostBuilder, HostConfig,
    HostError, HttpSettings, IllegalDigest, IllegalId, Interface, Invocation, InvocationFuture, Layers,
    LogFormat, LogSettings, Method, Metrics, OtelSettings, Pending, PendingConfig, PluginId, PluginInfo,
    PluginMetrics, ProcessUsage, ReloadError, Starting, Status, TimedCaller, TimedHandle, TlsFiles,
    TypedMethod, Version, WatchPoll, WeakHost, Workspace, artifacts_dir, default_state_dir, describe, error,
    event, manifest, metrics, settle_state_dir,
};

/// The parent process, which starts the program again after a crash.
pub mod parent {
    pub use replug_engine::parent::{supervise, supervise_until_interrupted};
}

/// The child process that runs one plugin. It executes the same program as the host.
pub mod shim {
    pub use replug_engine::shim::run_if_asked;
}
