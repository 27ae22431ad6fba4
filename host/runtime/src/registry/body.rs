//! The body of a generation: a library in the host's process, or a child process, together with the instance in it.
//!
//! The registry and the engine use only the trait [`Body`], and read the differences between bodies from the properties
//! in [`Traits`]. They never check which type a body has, or whether it has a process id. A new kind of body needs one
//! implementation of [`Body`], and one more case in the engine, which selects the body.
//!
//! **Architecture Invariant:** a typed call does not go through the body. The call table that the call pins contains
//! everything that the call needs: the edges, the column in which the call is counted, and how often calls are timed.

use super::{ColumnLease, OneIn};
use crate::{interface::Offered, process_usage::ProcessUsage};
use replug_model::{
    event::{LimitsInForce, RetireOutcome},
    limits::{LaneInUse, LimitsSpec, Mode},
    step::Step,
};
use replug_wire::Level;
use std::time::Duration;

/// The instance of a generation, together with what it runs in: a library in the host's process, or a child process.
///
/// Several threads may use a body at the same time. A generation never moves to another body.
pub trait Body: Send + Sync {
    /// The properties of this body. They never change.
    fn traits(&self) -> Traits;

    /// The interfaces that the plugin implements, in the order of `export!`. They never change.
    fn offered(&self) -> &[Offered];

    /// Whether the plugin has state to hand over to its next generation.
    fn stateful(&self) -> bool;

    /// The version of the format of the plugin's state: `Plugin::STATE_VERSION`.
    fn state_version(&self) -> u32;

    /// Calls `Plugin::start`.
    ///
    /// # Errors
    ///
    /// * [`LifecycleError`] if the plugin returns an error, panics, or does not answer
    fn start(&self) -> Result<(), LifecycleError>;

    /// Calls `Plugin::stop`.
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn stop(&self) -> Result<(), LifecycleError>;

    /// Calls `Plugin::health`. Returns whether the plugin is healthy, and its message.
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn health(&self) -> Result<(bool, String), LifecycleError>;

    /// Calls `Plugin::on_config` with the configuration, which is JSON.
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn configure(&self, config: &str) -> Result<(), LifecycleError>;

    /// Calls `Plugin::save`, and returns the saved state.
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn save(&self) -> Result<Vec<u8>, LifecycleError>;

    /// Calls `Plugin::restore` with a saved state and the state version in which it was saved.
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError>;

    /// Sets the most verbose level at which the plugin logs.
    fn set_max_level(&self, level: Level);

    /// The time limit of each call, if there is one. A caller whose call takes longer gets an error.
    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    /// The limits that are in force, and those of the manifest (`asked`) that are not. `None` if there is nothing to
    /// report.
    fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce>;

    /// The pid of the child process, if this body is in one. It is only for display: decisions depend on [`Traits`].
    fn process_id(&self) -> Option<u32> {
        None
    }

    /// The resources that the child process uses; `None` if the body is not in a child process, or if that process has
    /// exited.
    fn usage(&self) -> Option<ProcessUsage> {
        None
    }

    /// The kind of connection that the call that ended last has used, and why. `None` if the body is not in a child
    /// process, or no call has ended yet.
    fn lane(&self) -> Option<LaneInUse> {
        None
    }

    /// Aborts the calls that still run in this body. Their callers get an error with the reason. Has no effect unless
    /// the body is [interruptible](Traits::interruptible).
    fn interrupt(&self, reason: &str);

    /// Stops and drops the instance, and frees its resources. The caller guarantees that no call runs in the body and
    /// that none will begin.
    fn retire(self: Box<Self>, how: Retire<'_>) -> RetireOutcome;

    /// Drops an instance that never served. If the instance was started, the caller has stopped it. The caller also
    /// removes the private copy of the artifact.
    fn discard(self: Box<Self>, lease: &ColumnLease);
}

/// A lifecycle step of a plugin failed: the plugin returned an error, panicked or did not answer.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{step}` of {plugin} {}", self.what())]
pub struct LifecycleError {
    /// The plugin's id.
    pub plugin: String,
    /// The step.
    pub step: Step,
    /// The message of the plugin's error or of the panic, or why the plugin did not answer.
    pub message: String,
    /// The plugin's error code; `panicked` for a panic; another code of the host if the plugin gave no valid answer.
    pub code: String,
    /// The details of the plugin's error, as JSON, or empty. For a panic, its location.
    pub details: String,
}

replug_model::readable::readable!(LifecycleError);

impl LifecycleError {
    /// The code of an error that stands for a panic.
    pub const PANICKED: &'static str = "panicked";

    fn what(&self) -> String {
        let details = if self.details.is_empty() { String::new() } else { format!(" ({})", self.details) };
        if self.code == Self::PANICKED {
            format!("panicked: {}{details}", self.message)
        } else {
            format!("failed: {} [{}]{details}", self.message, self.code)
        }
    }
}

/// The properties of a [`Body`].
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// The generation runs outside of the host's process: its calls are counted under `Mode::Process`, and its library
    /// takes no memory of the host.
    pub outside_the_process: bool,
    /// A crash in the body is a crash of the host's process. A crash in the body is a crash of the host's process,
    /// which the host attributes to the plugin: each thread that runs a call or a lifecycle step of the body has a mark
    /// in the crash record.
    pub attributable: bool,
    /// A call in the body can be [aborted](Body::interrupt). Otherwise, a call that does not return occupies its thread
    /// until the process exits.
    pub interruptible: bool,
    /// Each lifecycle step returns within the `step_timeout` with which the body was made. Otherwise, nothing limits
    /// how long a step takes.
    pub steps_have_a_deadline: bool,
    /// The body keeps the limits, the deadlines and the environment variables of the manifest with which it was made. A
    /// change of these settings needs a new instance.
    pub settings_are_fixed: bool,
    /// How often a call into this body causes the thread's next call to be timed. Reading a clock takes longer than a
    /// short call in this process, but is negligible beside a call into another process or on another thread.
    pub timed_one_in: OneIn,
}

impl Traits {
    /// The mode under which the calls are counted: [`Mode::InProcess`] or [`Mode::Process`].
    pub fn mode(&self) -> Mode {
        if self.outside_the_process { Mode::Process } else { Mode::InProcess }
    }
}

/// How to [retire](Body::retire) a body. Only the registry creates this value, for a generation in which no call runs.
#[derive(Clone, Copy, Debug)]
pub struct Retire<'a> {
    /// The column of the generation.
    pub(crate) lease: &'a ColumnLease,
    /// The offset in the artifact's file, in bytes, at which its last mapped segment ends.
    pub(crate) loaded_file_bytes: u64,
    /// Whether the library is unmapped, if it is in this process.
    pub(crate) unmap: Unmap,
}

/// Whether the library is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmap {
    /// The library stays mapped, which is always sound.
    Never,
    /// The host tries to unmap the library if its code ran on threads of its own. It waits at most this long until no
    /// other thread is in the code. If the library is still in use then, or the loader keeps it, the library stays
    /// mapped.
    Within(Duration),
}
