//! The registry: the serving generation of each plugin, and how the next one replaces it.
//!
//! [`Entry`] is a plugin's entry in the registry. It outlives every generation, and handles hold it. `caller.rs` is the
//! path of a call. A call reads the slot (`slot.rs`) of its plugin, which points to the call table (`record.rs`) of the
//! generation that serves. The call writes only to the thread slot (`thread_slot.rs`) of its thread. The asymmetric
//! fence (`fence.rs`) moves the cost of this synchronization to the thread that swaps. If no generation serves, the
//! gate (`gate.rs`) decides whether a call waits or fails. The registry uses the instance of a generation through
//! [`body`], wherever the instance runs. The [`crash_record`], which outlives the process, contains the mark of each
//! thread. `stack.rs` measures how much of its stack a caller has left to decode a result.
//!
//! **Architecture Invariant:** while a generation serves, the registry's part of a call takes no lock, makes no system
//! call, allocates nothing and writes no memory that another thread writes. The only exceptions are a thread's first
//! call and the calls that are timed.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

pub mod body;
mod caller;
mod calls;
mod clear_away;
pub mod crash_record;
mod entry;
pub mod fence;
mod gate;
mod mark;
mod no_result;
mod outer;
mod record;
mod retire;
mod slot;
mod stack;
mod successor;
mod thread_slot;
mod watchdog;

/// The atomics and locks of the slot and its gate. `tests/tests/slot_model.rs` replaces them with a model checker's.
mod sync {
    pub(super) use parking_lot::{Condvar, Mutex};
    pub(super) use std::sync::atomic::{AtomicPtr, Ordering};
}

pub(crate) use caller::next_call_is_timed;
pub use caller::{EntryCaller, TimedCaller};
pub use calls::CallsIn;
pub use clear_away::{clear_away, give_back, give_back_later};
pub use crash_record::{CodeOrigin, CrashRecord};
pub use entry::PauseError;
pub use entry::{Entry, Paused, Retiring, Vacant};
pub use fence::NoMembarrier;
pub(crate) use no_result::{lost, panicked};
pub(crate) use outer::OuterCalls;
pub(crate) use record::MethodPlace;
pub use record::{Identity, Live};
pub use retire::{discard, end};
pub(crate) use stack::stack_left;
pub(crate) use successor::{Successor, Unsent, successor};
pub use thread_slot::TooManyGenerations;
pub use thread_slot::{Calls, ColumnLease, OneIn};
pub(crate) use thread_slot::{ColumnMarks, MAX_DEPTH};
pub use watchdog::Watchdog;
