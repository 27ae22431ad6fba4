//! Lets a plugin ask whether its call was cancelled.
//!
//! Cancellation is cooperative: it has an effect only if the method checks for it. No thread is ever stopped while it
//! runs an author's code.

use std::{
    cell::RefCell,
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Which of several calls was cancelled. The calls run one after another, and each has a number above 0. The value is
/// the number of the call that was cancelled last, or 0.
#[derive(Debug, Default)]
pub(crate) struct Cancellation(AtomicU64);

pub(super) type CurrentCall = Option<(Arc<Cancellation>, u64)>;

thread_local! {
    /// The call that this thread runs. The value has no destructor, so that it exists until the thread exits:
    /// destructors of other thread-locals may make calls. [`Outer`] restores the previous value, so that nothing leaks.
    static INSIDE: RefCell<ManuallyDrop<CurrentCall>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

fn replace(inside: CurrentCall) -> CurrentCall {
    ManuallyDrop::into_inner(INSIDE.replace(ManuallyDrop::new(inside)))
}

impl Cancellation {
    /// Cancels the call with that number. Has no effect on any other call, even if the call has returned or has not
    /// begun.
    pub(crate) fn cancel(&self, call: u64) {
        self.0.store(call, Ordering::Relaxed);
    }

    /// Runs the call with that number on the calling thread. Meanwhile, the plugin can ask whether the call was
    /// cancelled.
    pub(crate) fn during<T>(self: &Arc<Self>, call: u64, run: impl FnOnce() -> T) -> T {
        let _outer = Outer(replace(Some((self.clone(), call))));
        run()
    }
}

/// The call that the calling thread runs.
pub(super) fn current() -> CurrentCall {
    INSIDE.with_borrow(|inside| (**inside).clone())
}

/// Lets the calling thread run code of this call, for as long as the result exists.
pub(super) fn inherit(call: CurrentCall) -> Outer {
    Outer(replace(call))
}

/// The call around the current one. Dropping this value, when the current call returns or panics, restores it.
#[must_use = "the call ends when this is dropped"]
pub(super) struct Outer(CurrentCall);

impl Drop for Outer {
    fn drop(&mut self) {
        replace(self.0.take());
    }
}

/// Implements [`HostServices::cancelled`](replug_api::abi::HostServices::cancelled).
pub(super) extern "C" fn cancelled() -> bool {
    INSIDE.with_borrow(|inside| match &**inside {
        Some((calls, call)) => calls.0.load(Ordering::Relaxed) == *call,
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_sees_only_its_own_cancellation_and_only_on_its_thread() {
        let (outer, inner) = (Arc::<Cancellation>::default(), Arc::<Cancellation>::default());
        outer.during(1, || {
            assert!(!cancelled());
            outer.cancel(1);
            inner.during(1, || assert!(!cancelled()));
            assert!(cancelled());
            std::thread::scope(|scope| scope.spawn(|| assert!(!cancelled())).join().unwrap());
        });
        outer.during(2, || assert!(!cancelled()));
        assert!(!cancelled());
    }
}
