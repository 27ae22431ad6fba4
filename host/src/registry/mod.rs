//! Which generation of each plugin serves, and how one takes the place of another.
//!
//! [`Entry`] is a plugin's place in the registry. It outlives every generation and is what handles hold. The path of a
//! call is `caller.rs`; what it reads is the [`slot`]; what it writes is its thread's [`seat`]. Whoever swaps pays for
//! both, with the [`fence`]. When nothing serves, the [`gate`] says whether to wait or to give up. What a thread is in
//! the middle of stands in the [`crash_record`], too, where it outlives the process.
//!
//! **Architecture Invariant:** a call takes no lock, makes no system call, allocates nothing and writes no memory that
//! another thread writes, as long as a generation serves.

mod caller;
mod calls;
mod clear_away;
pub(crate) mod crash_record;
mod entry;
pub(crate) mod fence;
mod gate;
mod mark;
mod record;
mod retire;
mod seat;
mod slot;
mod successor;
mod watchdog;

/// The atomics and locks of the slot and its gate; a model checker's in `tests/tests/slot_model.rs`.
mod sync {
    pub(super) use parking_lot::{Condvar, Mutex};
    pub(super) use std::sync::atomic::{AtomicPtr, Ordering};
}

pub use caller::{EntryCaller, TimedCaller};
pub(crate) use caller::{lost, panicked};
pub(crate) use calls::CallsIn;
pub(crate) use clear_away::clear_away;
pub(crate) use crash_record::{CrashRecord, Note, NotedInterface, Origin};
pub use entry::PauseError;
pub(crate) use entry::{Entry, Paused, Retiring, Vacant};
pub use fence::NoMembarrier;
pub(crate) use mark::Step;
pub(crate) use record::{Birth, Live};
pub(crate) use retire::{Unmap, discard, end};
pub use seat::TooManyGenerations;
pub(crate) use seat::{Calls, LaneLease};
pub(crate) use successor::successor;
pub(crate) use watchdog::Watchdog;
