//! Loads artifacts and makes instances, in this process or in a child process. `generation.rs` does both, and makes the
//! generation for the registry.

mod cut;
mod generation;
pub mod in_process;
mod json;
mod log_bound;
mod over_wire;
pub mod process;
mod rate_limit;
mod reporter;

pub use generation::{LoadSpec, Observer};
pub use in_process::{LoadError, Unloading};
pub(crate) use json::parsed;
pub use log_bound::LogBound;
pub use reporter::HostReporter;
pub(crate) use reporter::ReportSink;

use crate::registry::body::LifecycleError;

/// Logs the error of a step. The error has no other consequence.
fn warn(step: Result<(), LifecycleError>) {
    if let Err(error) = step {
        tracing::warn!("{error}");
    }
}
