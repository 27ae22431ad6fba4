//! The harness of the end-to-end tests, the soak, the demo and the benchmarks.
//!
//! | module | what it does |
//! |---|---|
//! | [`lab`] | the plugins folder of one test, its host, and the host's events |
//! | [`artifact`] | artifacts of the fixture `misbehave`, built once, then patched for each version that a test needs |
//! | [`compiled`] | the template's dependencies, compiled once and copied into the build folder of each test's host |
//! | [`source`] | plugins that the host builds from source, from a template |
//! | [`recorder`] | the program's `tracing` subscriber, which records what plugins log |
//! | [`browser`] | a headless Chromium that shows the page |
//! | [`command`] | the `replug` command, as its users run it |
//! | [`http`] | a simple HTTP client for the control plane |
//! | [`hold`] | calls and builds that last until the test ends them |
//! | [`load`] | connections that send requests to an HTTP server without pause |
//! | [`needs`] | programs that tests need: installed if that is allowed, and reported if missing |
//! | [`neighbour`] | a plugin whose calls must not fail while another one misbehaves |
//! | [`numbered`] | copies of one artifact with different numbers, for reloads without a compiler |
//! | [`oracle`] | compares the builds of a watching host with clean builds, for many projects and changes |
//! | [`own_process`] | a process for each end-to-end test, and the files that these processes share |
//! | [`program`] | the file of the `replug` command |
//! | [`promtool`] | Prometheus's checker of metrics and alerts, where it is available |
//! | [`resource_usage`] | the resources of the program: memory, descriptors, thread-local keys |
//! | [`sandbox`] | copies of the workspace's plugins, for programs that edit them |
//! | [`schemathesis`] | tests a server with requests that are generated from its description, where it is available |
//! | [`stop_request`] | a signal that asks a long run to end early |
//! | [`wait`] | waits for conditions that no event reports |

pub mod artifact;
pub mod browser;
pub mod command;
pub mod compiled;
pub mod hold;
pub mod http;
pub mod lab;
pub mod load;
pub mod mounts;
pub mod needs;
pub mod neighbour;
pub mod numbered;
pub mod oracle;
pub mod own_process;
pub mod program;
pub mod promtool;
pub mod recorder;
pub mod resource_usage;
pub mod sandbox;
pub mod schemathesis;
pub mod source;
pub mod stop_request;
pub mod tally;
pub mod wait;

#[path = "../fixtures/misbehave/src/everything.rs"]
pub mod everything;
#[path = "../fixtures/misbehave/src/probe.rs"]
pub mod probe;

pub use artifact::{misbehave, stateless};
pub use browser::Browser;
pub use everything::Everything;
pub use hold::Hold;
pub use http::Http;
pub use lab::Lab;
pub use needs::skipped;
pub use neighbour::Neighbour;
pub use probe::{Probe, ProbeError};
pub use source::Source;
pub use tally::Tally;

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The folder for all build output.
pub fn target_dir() -> PathBuf {
    let set = env::var_os("CARGO_TARGET_DIR");
    workspace().join(set.as_deref().unwrap_or("target".as_ref()))
}

/// The folder in which fixtures are built, next to the other output of cargo.
pub fn fixtures_dir() -> PathBuf {
    target_dir().join("fixtures")
}
