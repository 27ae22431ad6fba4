//! The calls that a thread is inside, and how another thread that runs code on its behalf takes them over.

use super::{caller::HANDING_OVER, thread_slot::ThreadSlot};
use std::cell::RefCell;

thread_local! {
    /// The addresses of the call tables of the calls on whose behalf this thread runs code, the innermost last.
    static ON_BEHALF: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// The calls that a thread is inside. While the thread waits, its hazard pointers keep the call tables of these calls
/// from being freed.
#[derive(Debug)]
pub(crate) struct OuterCalls {
    records: Vec<usize>,
    handing_over: bool,
}

impl OuterCalls {
    /// The calls of the calling thread.
    pub(crate) fn of_this_thread() -> Self {
        Self { records: Self::addresses(), handing_over: HANDING_OVER.get() }
    }

    /// The addresses of the call tables of the calls that the calling thread is inside, the innermost last. This includes
    /// the calls on whose behalf it runs code.
    pub(super) fn addresses() -> Vec<usize> {
        // A thread whose thread-locals are already destroyed runs code on its own behalf.
        let mut records = ON_BEHALF.try_with(|records| records.borrow().clone()).unwrap_or_default();
        let own = ThreadSlot::mine().into_iter().flat_map(ThreadSlot::own_hazards);
        records.extend(own.filter(|record| !record.is_null()).map(|record| record.addr()));
        records
    }

    /// How many calls there are.
    pub(crate) fn depth(&self) -> usize {
        self.records.len()
    }

    /// Runs code on the calling thread on behalf of these calls. Meanwhile, the thread that is inside them must wait.
    pub(crate) fn during<T>(self, run: impl FnOnce() -> T) -> T {
        let _outer = Outer {
            records: ON_BEHALF.replace(self.records),
            handing_over: HANDING_OVER.replace(self.handing_over),
        };
        run()
    }
}

/// Restores the previous values when the code returns or panics.
struct Outer {
    records: Vec<usize>,
    handing_over: bool,
}

impl Drop for Outer {
    fn drop(&mut self) {
        ON_BEHALF.set(std::mem::take(&mut self.records));
        HANDING_OVER.set(self.handing_over);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_calls_apply_only_while_the_code_runs() {
        let outer = OuterCalls { records: vec![64, 128], handing_over: true };
        assert_eq!(outer.depth(), 2);
        outer.during(|| {
            assert_eq!(OuterCalls::addresses(), [64, 128]);
            assert!(HANDING_OVER.get());
            let inner = OuterCalls { records: vec![192], handing_over: false };
            inner.during(|| assert_eq!((OuterCalls::addresses(), HANDING_OVER.get()), (vec![192], false)));
            assert!(OuterCalls::of_this_thread().handing_over);
        });
        assert_eq!((OuterCalls::addresses(), HANDING_OVER.get()), (Vec::new(), false));
    }
}
