//! Finds and changes the processor of the calling thread.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::io;

/// The processor on which the calling thread runs. The kernel may move the thread at any time.
pub(super) fn current() -> usize {
    // The kernel's vDSO answers this without a system call.
    sched_getcpu()
}

/// Moves the calling thread away from `processor`, to another one that it may use. Afterwards, the thread may use the
/// same processors as before. Returns false if it may use no other one.
///
/// # Errors
///
/// * The kernel's error: the thread was not moved, or it was moved, but may from now on use only the other processors,
///   or all that its cgroup permits
pub(super) fn leave(processor: usize) -> io::Result<bool> {
    let before = sched_getaffinity(None)?;
    let mut others = before;
    if processor < CpuSet::MAX_CPU {
        others.unset(processor);
    }
    if others.count() == 0 {
        return Ok(false);
    }
    // Before this call returns, the kernel moves the thread to a processor that the thread may still use.
    sched_setaffinity(None, &others)?;
    restore(&before)?;
    Ok(true)
}

/// Permits the calling thread to use the processors `before` again.
fn restore(before: &CpuSet) -> io::Result<()> {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|number| all.set(number));
    // `before` is the mask of the thread without the processors that its cgroup forbids now. To set exactly this mask
    // would also exclude processors that the cgroup gets later. So the mask of all processors is tried first. If the
    // thread may then use more processors than `before`, it had a narrower mask of its own, which is set again.
    sched_setaffinity(None, &all)?;
    if sched_getaffinity(None)? != *before {
        sched_setaffinity(None, before)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// The processors that this thread may use.
    fn allowed() -> Vec<usize> {
        let mask = sched_getaffinity(None).unwrap();
        (0..CpuSet::MAX_CPU).filter(|number| mask.is_set(*number)).collect()
    }

    /// Runs the test on a thread of its own, because the test changes the processor mask of its thread.
    fn on_a_thread(test: fn()) {
        thread::spawn(test).join().unwrap();
    }

    fn allow_only(processors: &[usize]) {
        let mut mask = CpuSet::new();
        processors.iter().for_each(|number| mask.set(*number));
        sched_setaffinity(None, &mask).unwrap();
    }

    #[test]
    fn a_thread_that_leaves_a_processor_may_use_the_same_ones_afterwards() {
        on_a_thread(|| {
            let before = allowed();
            assert_eq!(leave(current()).unwrap(), before.len() > 1);
            assert_eq!(allowed(), before);
        });
    }

    #[test]
    fn a_thread_that_leaves_every_processor_in_turn_may_use_all_again() {
        on_a_thread(|| {
            let before = allowed();
            // `leave` changes nothing if no processor has the number.
            for number in before.iter().copied().chain([CpuSet::MAX_CPU, usize::MAX]) {
                leave(number).unwrap();
                assert_eq!(allowed(), before);
            }
        });
    }

    #[test]
    fn a_thread_with_a_mask_of_its_own_keeps_it() {
        on_a_thread(|| {
            let before = allowed();
            allow_only(&before[..1]);
            assert!(!leave(before[0]).unwrap(), "no other processor is allowed");
            assert_eq!(allowed(), before[..1]);
            // Leaving a processor that the thread cannot use anyway succeeds.
            assert!(leave(CpuSet::MAX_CPU - 1).unwrap());
            assert_eq!(allowed(), before[..1]);
        });
    }
}
