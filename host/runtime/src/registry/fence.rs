//! The two halves of an asymmetric fence: nearly free for callers, a system call for the thread that swaps.
//!
//! A caller announces the call table that it is about to use, and then checks that the table still serves. A swapper
//! replaces the serving call table, and then checks which threads have announced the old one. On both sides, the store
//! must become visible before the load of the check. Callers only prevent the compiler from reordering the two. The
//! swapper makes each running thread of the process execute a full barrier.

use rustix::thread::{MembarrierCommand, membarrier, membarrier_query};
use std::sync::atomic::{Ordering, compiler_fence};

/// The caller's half.
#[inline(always)]
pub(super) fn light() {
    compiler_fence(Ordering::SeqCst);
}

/// The swapper's half. It takes about a microsecond.
pub(super) fn heavy() {
    membarrier(MembarrierCommand::PrivateExpedited)
        .expect("`register` succeeded before the first plugin was loaded");
}

/// The kernel has no expedited membarrier.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the kernel rejects `membarrier(PRIVATE_EXPEDITED)`, which reloads need: use Linux 4.14 or later, and allow the call \
     in a sandbox"
)]
pub struct NoMembarrier;

replug_model::readable::readable!(NoMembarrier);

/// Registers this process for `heavy`. Must be called before the first call table is published; may be called again.
///
/// # Errors
///
/// * [`NoMembarrier`] if the kernel or a sandbox rejects the system call
pub fn register() -> Result<(), NoMembarrier> {
    let wanted = MembarrierCommand::RegisterPrivateExpedited;
    if !membarrier_query().contains_command(wanted) {
        return Err(NoMembarrier);
    }
    membarrier(wanted).map_err(|_| NoMembarrier)
}
