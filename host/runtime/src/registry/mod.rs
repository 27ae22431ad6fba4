//! Which generation of each plugin serves, and how one takes the place of another.
//!
//! [`Entry`] is a plugin's place in the registry. It outlives every generation and is what handles hold. The path of a
//! call is `caller.rs`; what it reads is the `slot`; what it writes is its thread's `thread_slot`. Whoever swaps pays for
//! both, with the `fence`. When nothing serves, the `gate` says whether to wait or to give up. What a thread is in
//! the middle of stands in the [`crash_record`], too, where it outlives the process.
//!
//! **Architecture Invariant:** a call takes no lock, makes no system call, allocates nothing and writes no memory that
//! another thread writes, as long as a generation serves.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

mod caller;
mod calls;
mod clear_away;
pub mod crash_record;
mod entry;
pub mod fence;
mod gate;
mod mark;
mod record;
mod retire;
mod slot;
mod successor;
mod thread_slot;
mod watchdog;

/// The atomics and locks of the slot and its gate; a model checker's in `tests/tests/slot_model.rs`.
mod sync {
    pub(super) use parking_lot::{Condvar, Mutex};
    pub(super) use std::sync::atomic::{AtomicPtr, Ordering};
}

pub use caller::{EntryCaller, TimedCaller};
pub(crate) use caller::{lost, panicked};
pub use calls::CallsIn;
pub use clear_away::clear_away;
pub use crash_record::{CrashRecord, Note, NotedInterface, Origin};
pub use entry::PauseError;
pub use entry::{Entry, Paused, Retiring, Vacant};
pub use fence::NoMembarrier;
pub use mark::Step;
pub use record::{Birth, Live};
pub use retire::{Unmap, discard, end};
pub use successor::successor;
pub use thread_slot::TooManyGenerations;
pub use thread_slot::{Calls, ColumnLease};
pub use watchdog::Watchdog;
