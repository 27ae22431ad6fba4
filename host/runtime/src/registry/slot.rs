//! The slot: which record serves, and the protocol that replaces it while callers use it without a lock. Callers
//! announce records in hazard pointers.
//!
//! A caller [pins](Slot::pin): it writes the pointer that it has read into its own hazard cell, and reads the slot
//! again. A swapper [publishes](Slot::publish): it replaces the pointer and executes the heavy fence. From then on,
//! each thread that still uses the old record has the record's pointer in a hazard cell, and no other thread can pin
//! the record. So once no cell contains the pointer, no cell will contain it again.
//!
//! This file is also compiled with a model checker's atomics (`tests/tests/slot_model.rs`), so it imports its
//! atomics and fences from its parent module.

use super::fence;
use super::sync::{AtomicPtr, Ordering};

/// Holds a pointer to the record that serves, or null.
///
/// The slot does not own the record.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    current: AtomicPtr<T>,
}

impl<T> Slot<T> {
    /// A slot in which no record serves.
    pub(crate) fn empty() -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Announces in `hazard` the record that serves, and returns it; null if none serves.
    ///
    /// The returned record stays in use until [`unpin`] is called on that hazard cell. Only the calling thread
    /// writes to the cell.
    #[inline(always)]
    pub(crate) fn pin(&self, hazard: &AtomicPtr<T>) -> *mut T {
        let mut seen = self.current.load(Ordering::Relaxed);
        loop {
            hazard.store(seen, Ordering::Relaxed);
            fence::light();
            let now = self.current.load(Ordering::Acquire);
            if now == seen {
                return now;
            }
            seen = now;
        }
    }

    /// Makes `next` the serving record, and returns the previous one.
    ///
    /// The returned record can be freed as soon as [`in_use`] returns false.
    pub(crate) fn publish(&self, next: *mut T) -> *mut T {
        let old = self.current.swap(next, Ordering::AcqRel);
        fence::heavy();
        old
    }

    /// The record that serves. Callers only compare the pointer with others.
    pub(crate) fn peek(&self) -> *mut T {
        self.current.load(Ordering::Acquire)
    }
}

/// Clears the hazard cell that [`Slot::pin`] has set.
#[inline(always)]
pub(crate) fn unpin<T>(hazard: &AtomicPtr<T>) {
    hazard.store(std::ptr::null_mut(), Ordering::Release);
}

/// Whether a hazard cell of any thread announces `record`. The record must have been removed from its slot.
pub(crate) fn in_use<'a, T: 'a>(record: *mut T, mut hazards: impl Iterator<Item = &'a AtomicPtr<T>>) -> bool {
    hazards.any(|hazard| hazard.load(Ordering::Acquire) == record)
}
