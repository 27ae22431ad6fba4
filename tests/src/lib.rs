//! What the end-to-end tests, the soak, the demo and the benchmarks stand on.
//!
//! | room | what it does |
//! |---|---|
//! | [`lab`] | one test's plugins folder, its host, and what that told |
//! | [`artifact`] | artifacts of the fixture `misbehave`: built once, then patched for each version that a test wants |
//! | [`compiled`] | what the template needs, compiled once and put where each test's host builds |
//! | [`source`] | plugins that are built from source by the host, from a template |
//! | [`recorder`] | the program's `tracing` subscriber, which remembers what plugins said |
//! | [`browser`] | a Chromium that looks at the page |
//! | [`command`] | the `replug` command, as its users run it |
//! | [`held`] | what the program holds of the machine: memory, descriptors, keys |
//! | [`http`] | a client for the control plane that hides nothing |
//! | [`hold`] | a call that lasts until the test lets it go |
//! | [`load`] | connections that keep asking an HTTP server |
//! | [`needs`] | what a bare machine lacks: installed where it may be, and missed aloud |
//! | [`neighbour`] | a plugin whose calls must not fail while another one misbehaves |
//! | [`numbered`] | one artifact under a thousand numbers, for reloads without a compiler |
//! | [`oracle`] | what the loop builds, compared with clean builds, for many projects and changes |
//! | [`promtool`] | Prometheus's judge of metrics and alerts, where it is available |
//! | [`sandbox`] | a copy of the workspace's plugins, to be edited |
//! | [`schemathesis`] | asks a server what its description allows, and what it does not, where it is available |

pub mod artifact;
pub mod browser;
pub mod command;
pub mod compiled;
pub mod held;
pub mod hold;
pub mod http;
pub mod lab;
pub mod load;
pub mod needs;
pub mod neighbour;
pub mod numbered;
pub mod oracle;
pub mod promtool;
pub mod recorder;
pub mod sandbox;
pub mod schemathesis;
pub mod source;
pub mod tally;

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

use std::path::{Path, PathBuf};

/// The root of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests lie in the workspace").to_owned()
}

/// Where fixtures are built, beside what else cargo builds.
pub fn target_dir() -> PathBuf {
    workspace().join("target/fixtures")
}
