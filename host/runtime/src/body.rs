//! What a generation runs in: the host's own process, or one of its own.
//!
//! The registry and the engine know a generation's place as a [`Body`] only. What they need to know of it, they read in its
//! [`Traits`]: none of them asks which body it is, or whether there is a process. A new kind of place is one more
//! implementation, and a place at which it is chosen.
//!
//! **Architecture Invariant:** a typed call does not pass the body. What it needs is in the record that it pins: the
//! interfaces as they were bound, the column, and which calls are timed.

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

/// What a generation runs in: its instance, and where that is.
///
/// It may be used on any thread, and on several at once. A generation is never moved to another body.
pub trait Body: Send + Sync {
    /// What whoever handles it may rely on. Always the same.
    fn traits(&self) -> Traits;

    /// The interfaces that the plugin implements, in the order of `export!`. Always the same.
    fn offered(&self) -> &[Offered];

    /// Whether the plugin has state to hand over.
    fn stateful(&self) -> bool;

    /// `Plugin::STATE_VERSION`
    fn state_version(&self) -> u32;

    /// `Plugin::start`
    ///
    /// # Errors
    ///
    /// * [`LifecycleError`] if the plugin refuses, panics, or does not answer, as for every step
    fn start(&self) -> Result<(), LifecycleError>;

    /// `Plugin::stop`
    ///
    /// # Errors
    ///
    /// * As for [`Body::start`]
    fn stop(&self) -> Result<(), LifecycleError>;

    /// `Plugin::health`: whether it is well, and what it says.
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

    /// Tells the plugin the most verbose level that is wanted now.
    fn set_max_level(&self, level: Level);

    /// How long a call may take before its caller is released, if there is such a bound.
    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    /// What bounds it, and what does not though its manifest asks for it.
    fn limits(&self, asked: LimitsSpec) -> Option<LimitsInForce>;

    /// The number of its process, if that is one of its own. To be shown: what follows from it is in [`Traits`].
    fn process_id(&self) -> Option<u32> {
        None
    }

    /// What its process takes of the machine, if that is one of its own and has not ended.
    fn usage(&self) -> Option<ProcessUsage> {
        None
    }

    /// Ends the calls that still run in it, whose callers learn the reason. Only done to one that is
    /// [interruptible](Traits::interruptible).
    fn interrupt(&self, reason: &str);

    /// Stops and drops the instance, and gives back all that it takes. No call is inside of it, or ever will be again.
    fn retire(self: Box<Self>, how: Retire<'_>) -> RetireOutcome;

    /// Drops an instance that never served, and that was stopped if it was started. The copy of its artifact is left to the
    /// caller.
    fn discard(self: Box<Self>, lease: &ColumnLease);
}

/// What whoever handles a [`Body`] may rely on.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// It takes its memory elsewhere than in the host's process.
    pub outside_the_process: bool,
    /// A crash in it is one of the host's process: threads that are inside of it are marked in the crash record.
    pub blamable: bool,
    /// A call that runs in it can be [ended](Body::interrupt). Otherwise, one that does not come back keeps its thread.
    pub interruptible: bool,
    /// A step of the plugin's life comes back by the deadline that it was made with. Otherwise, it may take for ever.
    pub steps_have_a_deadline: bool,
    /// It keeps the limits, the deadlines and the variables of the manifest that it was made of: new ones take another
    /// instance.
    pub settings_are_fixed: bool,
    /// Which of a thread's calls are timed. A clock takes longer than many a call in this process, and no time beside one
    /// into another.
    pub timed_one_in: OneIn,
}

impl Traits {
    /// As what its calls are counted: [`Mode::InProcess`] or [`Mode::Process`].
    pub fn mode(&self) -> Mode {
        if self.outside_the_process { Mode::Process } else { Mode::InProcess }
    }
}

/// How a body is [retired](Body::retire). Only the registry makes one: of a generation that no call is inside of.
#[derive(Clone, Copy, Debug)]
pub struct Retire<'a> {
    /// Where its calls are counted, and its steps marked.
    pub(crate) lease: &'a ColumnLease,
    /// How far into the file of its artifact what is mapped reaches, if that is in this process.
    pub(crate) loaded_file_bytes: u64,
    /// Whether its library is unmapped, if it is in this process.
    pub(crate) unmap: Unmap,
}

/// Whether the library is unmapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmap {
    /// It stays, which is always sound.
    Never,
    /// It goes, if all threads that ran its code end within this time.
    Within(Duration),
}
