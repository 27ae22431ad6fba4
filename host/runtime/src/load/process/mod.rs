//! An artifact in a child process, the shim: the same program loads it there with the same code, and calls go over
//! lanes.
//!
//! `child.rs` is the process, `life.rs` its end; `lanes.rs` has the connections for calls; `instance.rs` is the
//! plugin in it, with the same steps of life as one in this process; `faces.rs` is what handles call, and
//! `deadline.rs` limits how long they wait. `environment.rs` makes its environment. `trial.rs` does all of this
//! with a process that is thrown away. `bounds.rs` and `cgroup.rs` limit it, `usage.rs` measures what it uses.
//!
//! **Architecture Invariant:** no child outlives the host, and no dead child is called. A call in flight gets the
//! reason at once, because its lane closes at the end of the process.

mod bounds;
pub mod cgroup;
mod child;
mod deadline;
mod environment;
mod error;
mod faces;
mod instance;
mod lanes;
mod life;
mod output;
mod signal;
mod spawner;
mod trial;
mod usage;

pub use cgroup::{CONTROLLERS as CGROUP_CONTROLLERS, CgroupError, Delegated, delegated};
pub use child::{Program, Start};
pub(crate) use deadline::{Deadline, Noted};
pub use environment::Environment;
pub use error::ProcessError;
pub(crate) use faces::{Successor, Unsent};
pub use instance::Birth;
pub(crate) use instance::{Instance, Purpose};
pub(crate) use signal::signal_name;
pub use trial::{SavedBy, TrialError, TrialReport, open_only, try_out};
pub use usage::ProcessUsage;
