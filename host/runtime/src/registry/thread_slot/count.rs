//! How many calls a thread has made into one generation, and which of them are timed.

use super::Calls;
use replug_model::metrics::Failure;
use std::sync::atomic::{AtomicU64, Ordering};

/// The calls of one thread into one generation. As large as a cache line, so that it is found by a shift.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(in crate::registry) struct Count {
    /// Those that returned. Apart from the others, so that no number is ever seen to fall.
    returned: AtomicU64,
    /// Those that failed, in the order of [`Failure::ALL`].
    failures: [AtomicU64; 5],
}

impl Count {
    /// Those so far, as any thread may read them.
    pub(in crate::registry) fn read(&self) -> Calls {
        let failures = self.failures.each_ref().map(|count| count.load(Ordering::Relaxed));
        Calls::of(self.returned.load(Ordering::Relaxed), failures.into())
    }

    /// Those so far, which are none from now on. No thread may be counting.
    pub(in crate::registry) fn take(&self) -> Calls {
        let failures = self.failures.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
        Calls::of(self.returned.swap(0, Ordering::Relaxed), failures.into())
    }

    /// Counts one call that returned; whether the thread's next one is to be timed. Only the thread that has the thread slot calls
    /// this.
    #[inline(always)]
    pub(in crate::registry) fn note_return(&self, one_in: OneIn) -> bool {
        note(&self.returned, one_in)
    }

    /// The same for one that failed.
    #[cold]
    pub(in crate::registry) fn note_failure(&self, why: Failure, one_in: OneIn) -> bool {
        note(&self.failures[why as usize], one_in)
    }
}

#[inline(always)]
fn note(counter: &AtomicU64, OneIn { mask }: OneIn) -> bool {
    let before = counter.load(Ordering::Relaxed);
    counter.store(before + 1, Ordering::Relaxed);
    before & mask == 0
}

/// After how many calls of a thread one is timed.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry) struct OneIn {
    mask: u64,
}

impl OneIn {
    /// Each.
    pub(in crate::registry) const ONE: Self = Self { mask: 0 };
    /// The first, and then each 1,024th.
    pub(in crate::registry) const SAMPLED: Self = Self { mask: 1023 };
}
