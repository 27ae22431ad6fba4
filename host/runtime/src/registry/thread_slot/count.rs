//! Counts the calls of a thread into one generation, and decides after each whether the thread's next call, into any
//! generation, is timed.

use super::Calls;
use replug_model::metrics::Failure;
use std::sync::atomic::{AtomicU64, Ordering};

/// The calls of one thread into one generation. A count has the size of a cache line, so that its place in an array is
/// computed with a shift.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(in crate::registry) struct Count {
    /// The calls that ended with `CallEnd::Ok`. They have a counter of their own. As the difference of all calls and of
    /// the failed calls, the number would be too high for a reader between the two stores, and would then decrease.
    returned: AtomicU64,
    /// The calls that failed, in the order of [`Failure::ALL`].
    failures: [AtomicU64; 5],
}

impl Count {
    /// The calls so far. Any thread may read them.
    pub(in crate::registry) fn read(&self) -> Calls {
        let failures = self.failures.each_ref().map(|count| count.load(Ordering::Relaxed));
        Calls::of(self.returned.load(Ordering::Relaxed), failures.into())
    }

    /// Returns the calls so far, and resets them to zero. Meanwhile, no thread may count calls here.
    pub(in crate::registry) fn take(&self) -> Calls {
        let failures = self.failures.each_ref().map(|count| count.swap(0, Ordering::Relaxed));
        Calls::of(self.returned.swap(0, Ordering::Relaxed), failures.into())
    }

    /// Counts one call that returned. Returns whether to time the thread's next call. Only the thread that owns the
    /// thread slot calls this.
    #[inline(always)]
    pub(in crate::registry) fn note_return(&self, one_in: OneIn) -> bool {
        note(&self.returned, one_in)
    }

    /// Counts one call that failed, like [`Count::note_return`].
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

/// Which calls cause the thread's next call to be timed: one in `mask` + 1, which is a power of two.
#[derive(Clone, Copy, Debug)]
pub struct OneIn {
    mask: u64,
}

impl OneIn {
    /// Each call causes the thread's next call to be timed.
    pub const ONE: Self = Self { mask: 0 };
    /// Of a thread's calls into a generation, the first that returned, and then every 1,024th, cause the next call to
    /// be timed. The same applies to each kind of failure.
    pub const SAMPLED: Self = Self { mask: 1023 };
}
