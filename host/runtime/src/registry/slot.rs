//! The slot: which call table serves, and the protocol that replaces the table while callers use it without a lock.
//! Callers announce call tables in hazard pointers.
//!
//! A caller [pins](Slot::pin): it reads the address in the slot, stores this address in its own hazard pointer, and
//! reads the slot again. A swapper [publishes](Slot::publish): it replaces the address in the slot and executes the
//! heavy fence. From then on, each thread that still uses the old call table has the table's address in a hazard
//! pointer, and no other thread can pin the table. A thread that has read the slot before the swap may still store the
//! old address, but its second read finds the new address, so it does not use the old table. So once no hazard pointer
//! contains the old address, no thread uses the old table, and none will use it again.
//!
//! This file is also compiled with a model checker's atomics (`tests/tests/slot_model.rs`), so it imports its
//! atomics and fences from its parent module.

use super::fence;
use super::sync::{AtomicPtr, Ordering};

/// Holds a pointer to the call table that serves, or null.
///
/// The slot does not own the call table.
#[derive(Debug)]
pub(crate) struct Slot<T> {
    current: AtomicPtr<T>,
}

impl<T> Slot<T> {
    /// A slot in which no call table serves.
    pub(crate) fn empty() -> Self {
        Self { current: AtomicPtr::new(std::ptr::null_mut()) }
    }

    /// Announces in the hazard pointer `hazard` the call table that serves, and returns the table; null if none serves.
    ///
    /// The returned table stays in use until [`unpin`] is called on that hazard pointer. Only the calling thread
    /// writes to the hazard pointer.
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

    /// Makes `next` the serving call table, and returns the previous one.
    ///
    /// The returned table can be freed as soon as [`in_use`] returns false.
    pub(crate) fn publish(&self, next: *mut T) -> *mut T {
        let old = self.current.swap(next, Ordering::AcqRel);
        fence::heavy();
        old
    }

    /// The call table that serves. The pointer is only for comparisons with others.
    pub(crate) fn peek(&self) -> *mut T {
        self.current.load(Ordering::Acquire)
    }
}

/// Clears the hazard pointer that [`Slot::pin`] has set.
#[inline(always)]
pub(crate) fn unpin<T>(hazard: &AtomicPtr<T>) {
    hazard.store(std::ptr::null_mut(), Ordering::Release);
}

/// Whether a hazard pointer of any thread announces the call table `record`, which must have been removed from its
/// slot.
pub(crate) fn in_use<'a, T: 'a>(record: *mut T, mut hazards: impl Iterator<Item = &'a AtomicPtr<T>>) -> bool {
    hazards.any(|hazard| hazard.load(Ordering::Acquire) == record)
}
