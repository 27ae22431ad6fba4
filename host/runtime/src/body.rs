//! The place of a generation: the host's own process, or a child process.
//!
//! The registry and the engine use only the trait [`Body`], and read the differences between bodies from [`Traits`].
//! They never ask which kind of body a generation has, or whether it has a process. A new kind of body is one more
//! implementation, and one place that selects it.
//!
//! **Architecture Invariant:** a typed call does not go through the body. The record that the call pins has all that
//! the call needs: the bound interfaces, the column, and which calls are timed.

use crate::{
    load::{LifecycleError, Offered, process::ProcessUsage},
    registry::{ColumnLease, OneIn},
};
use replug_model::{
    event::{LimitsInForce, RetireOutcome},
    limits::{LimitsSpec, Mode},
};
use replug_wire::Level;
use std::time::Duration;

/// The instance of a generation, and the process that it is in.
///
/// Several threads may use a body at the same time. A generation never moves to another body.
pub trait Body: Send + Sync {
    /// The properties of this body. They never change.
    fn traits(&self) -> Traits;

    /// The interfaces that the plugin implements, in the order of `export!`. They never change.
    fn offered(&self) -> &[Offered];

    /// Whether the plugin has state to hand over.
    fn stateful(&self) -> bool;

    /// `Plugin::STATE_VERSION`
    fn state_version(&self) -> u32;

    /// `Plugin::start`
    ///
    /// # Errors
    ///
    /// * [`LifecycleError`] if the plugin returns an error, panics, or does not answer, as for every step
    fn start(&self) -> Result<(), LifecycleError>;

    /// `Plugin::stop`
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn stop(&self) -> Result<(), LifecycleError>;

    /// `Plugin::health`: whether the plugin is healthy, and its message.
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn health(&self) -> Result<(bool, String), LifecycleError>;

    /// `Plugin::on_config`
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn configure(&self, config: &str) -> Result<(), LifecycleError>;

    /// `Plugin::save`
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn save(&self) -> Result<Vec<u8>, LifecycleError>;

    /// `Plugin::restore`
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError>;

    /// Sets the most verbose level that the plugin logs.
    fn set_max_level(&self, level: Level);

    /// The time limit of a call, after which its caller gets an error, if there is one.
    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    /// The limits that are in force, and those of the manifest that are not.
    fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce>;

    /// The pid of the child process, if this body is in one. It is only for display: what follows from it is in
    /// [`Traits`].
    fn process_id(&self) -> Option<u32> {
        None
    }

    /// What the child process uses, if this body is in one that has not ended.
    fn usage(&self) -> Option<ProcessUsage> {
        None
    }

    /// Ends the calls that still run in this body. Their callers get the reason. Only called on an
    /// [interruptible](Traits::interruptible) body.
    fn interrupt(&self, reason: &str);

    /// Stops and drops the instance, and frees all that it uses. No call is in the body, and none will be.
    fn retire(self: Box<Self>, how: Retire<'_>) -> RetireOutcome;

    /// Drops an instance that never served, and was stopped if it was started. The caller removes the copy of its
    /// artifact.
    fn discard(self: Box<Self>, lease: &ColumnLease);
}

/// The properties of a [`Body`].
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// The body uses memory outside of the host's process.
    pub outside_the_process: bool,
    /// A crash in the body is a crash of the host's process. Threads that run its code are marked in the crash record.
    pub blamable: bool,
    /// A call in the body can be [ended](Body::interrupt). Otherwise, a call that does not return keeps its thread.
    pub interruptible: bool,
    /// A lifecycle step returns by the deadline that was set when the body was made. Otherwise, it may never return.
    pub steps_have_a_deadline: bool,
    /// The body keeps the limits, the deadlines and the variables of the manifest with which it was made. New ones need
    /// another instance.
    pub settings_are_fixed: bool,
    /// Which of a thread's calls are timed. Reading a clock takes longer than many calls in this process, but is
    /// negligible beside a call into another process.
    pub timed_one_in: OneIn,
}

impl Traits {
    /// The mode under which the calls are counted: [`Mode::InProcess`] or [`Mode::Process`].
    pub fn mode(&self) -> Mode {
        if self.outside_the_process { Mode::Process } else { Mode::InProcess }
    }
}

/// How to [retire](Body::retire) a body. Only the registry makes one, for a generation that no call is inside.
#[derive(Clone, Copy, Debug)]
pub struct Retire<'a> {
    /// The column in which the generation's calls are counted and its steps are marked.
    pub(crate) lease: &'a ColumnLease,
    /// The end of the mapped part of the artifact's file, in bytes, if the artifact is mapped in this process.
    pub(crate) loaded_file_bytes: u64,
    /// Whether the library is unmapped, if it is in this process.
    pub(crate) unmap: Unmap,
}

/// Whether the library is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmap {
    /// The library stays mapped, which is always sound.
    Never,
    /// The library is unmapped, if all threads that ran its code end within this time.
    Within(Duration),
}
