//! An artifact as a child process, the shim: the same file, loaded there by the same code, called over lanes.
//!
//! `child.rs` is the process, `life.rs` its end; `lanes.rs` the connections that calls go over; `instance.rs` the plugin in it, with the same steps of life as one in this process; `faces.rs` what handles call, and `deadline.rs`
//! how long they wait. `environment.rs` is what it finds in its environment.
//! `trial.rs` does all of it with a process that is thrown away. `bounds.rs` and `cgroup.rs` bound
//! it, `usage.rs` says what it takes.
//!
//! **Architecture Invariant:** no child outlives the host, and none that has died is called: a call in flight gets the
//! reason at once, since the end of its lane is the end of the process.

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
pub use instance::{Birth, Instance, Purpose};
pub(crate) use signal::signal_name;
pub use trial::{SavedBy, TrialError, TrialReport, open_only, try_out};
pub use usage::ProcessUsage;
