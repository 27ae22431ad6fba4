//! Runs an artifact in a child process, the shim. The shim is a second process of the same program. It loads the
//! artifact with the same code as the host.
//!
//! * `spare.rs` starts the process, which may happen before its artifact is known; `spawner.rs` has the thread that
//!   starts all processes. `child.rs` greets the process and sends requests to it. `life.rs` kills and reaps the
//!   process, and `output.rs` reports its output.
//! * `lanes.rs` has the connections for calls.
//! * `instance.rs` implements `Body` for a plugin in a child process.
//! * `interfaces.rs` implements the interfaces that handles call, and limits how long calls take.
//! * `environment.rs` makes the environment of the process; `bounds.rs` and `cgroup.rs` limit its resources.
//! * `trial.rs` runs a trial in a throwaway process.
//!
//! **Architecture Invariant:** no child outlives the host, and no dead child is called. When the process exits, its
//! lanes are closed, so the caller of a running call gets an error without waiting for a deadline.

mod bounds;
pub mod cgroup;
mod child;
mod environment;
mod error;
mod instance;
mod interfaces;
mod lanes;
mod life;
mod output;
mod spare;
mod spawner;
mod trial;

pub use cgroup::{CONTROLLERS as CGROUP_CONTROLLERS, CgroupError, Delegated, delegated};
pub use child::Start;
pub use environment::Environment;
pub use error::ProcessError;
pub use instance::InstanceSpec;
pub(crate) use instance::{Instance, Purpose};
pub use spare::{ProcessSpec, SparePool};
pub use trial::{SavedBy, TrialError, TrialReport, open_only, try_out};
