//! Bringing an artifact to life, by mode: as a part of this process, or as a child process.

mod cut;
pub mod in_process;
mod json;
mod log_bound;
mod over_wire;
pub mod process;
mod ration;
mod speaker;

pub use in_process::{InterfaceMismatch, LifecycleError, LoadError, Offered};
pub(crate) use in_process::{Method, interface};
pub(crate) use json::parsed;
pub use log_bound::LogBound;
pub use speaker::{Listener, Speaker};

/// Logs a step that went wrong where nothing else follows from it.
fn warn(step: Result<(), LifecycleError>) {
    if let Err(error) = step {
        tracing::warn!("{error}");
    }
}
