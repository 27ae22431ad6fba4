//! The two halves of an asymmetric fence: nearly free for callers, a system call for whoever swaps.
//!
//! A caller announces what it is about to use and then looks again whether that still serves; a swapper replaces what
//! serves and then looks who announced it. Both need their store to be visible before their load. Callers only keep
//! the compiler from reordering; the swapper makes every running thread of the process pass a full barrier.

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
use std::sync::atomic::{Ordering, compiler_fence};

/// The caller's half.
#[inline(always)]
pub(super) fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The swapper's half: about a microsecond.
pub(super) fn heavy() {
    membarrier(MembarrierCommand::PrivateExpedited)
        .expect("`register` succeeded before the first plugin was loaded");
}

/// The kernel has no expedited membarrier.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel refuses `membarrier(PRIVATE_EXPEDITED)`, on which swapping rests: Linux 4.14 or later is needed, and a \
     sandbox must allow the call"
)]
pub struct NoMembarrier;

replug_model::readable::readable!(NoMembarrier);

/// Tells the kernel that this process will use `heavy`. To be called before anything is published; may be repeated.
pub fn register() -> Result<(), NoMembarrier> {
    let wanted = MembarrierCommand::RegisterPrivateExpedited;
    if !membarrier_query().contains_command(wanted) {
        return Err(NoMembarrier);
    }
    membarrier(wanted).map_err(|_| NoMembarrier)
}
