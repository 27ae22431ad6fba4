//! An artifact in a child process, the shim. The shim is this same program: it loads the artifact with the same code as
//! the host, and calls go over lanes.
//!
//! `child.rs` is the process, and `life.rs` is its end. `lanes.rs` has the connections for calls. `instance.rs` is the
//! plugin in the process, with the same lifecycle steps as a plugin in this process. `faces.rs` has the interfaces that
//! handles call, and `deadline.rs` limits how long they wait. `environment.rs` makes the environment of the process.
//! `bounds.rs` and `cgroup.rs` limit the process, and `usage.rs` measures what it uses. `trial.rs` runs a trial in a
//! process that is thrown away.
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
