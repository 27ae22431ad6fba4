//! Loads artifacts and makes instances, in this process or in a child process.

mod cut;
pub mod in_process;
mod json;
mod log_bound;
mod over_wire;
pub mod process;
mod ration;
mod reporter;

pub use in_process::{InterfaceMismatch, LifecycleError, LoadError, Offered};
pub(crate) use in_process::{Method, interface};
pub(crate) use json::parsed;
pub use log_bound::LogBound;
pub use reporter::HostReporter;
pub(crate) use reporter::ReportSink;

/// Logs the error of a step. The error has no other consequence.
fn warn(step: Result<(), LifecycleError>) {
    if let Err(error) = step {
        tracing::warn!("{error}");
    }
}
