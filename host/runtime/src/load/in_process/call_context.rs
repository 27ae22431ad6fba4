//! What a call takes over from the thread that waits for it, if the call runs on another thread.

use super::cancel::{self, CurrentCall};
use crate::{
    deadline::{CurrentDeadline, Deadline},
    registry::OuterCalls,
};

/// The calls that a thread is inside, with the deadline and the cancellation that apply to its code.
pub(super) struct CallContext {
    outer: OuterCalls,
    deadline: CurrentDeadline,
    cancellation: CurrentCall,
}

impl CallContext {
    /// The context of the calling thread.
    pub(super) fn of_this_thread() -> Self {
        Self {
            outer: OuterCalls::of_this_thread(),
            deadline: Deadline::current(),
            cancellation: cancel::current(),
        }
    }

    /// How many calls the thread is inside.
    pub(super) fn depth(&self) -> usize {
        self.outer.depth()
    }

    /// Runs code on the calling thread in this context. Meanwhile, the thread of this context must wait.
    pub(super) fn during<T>(self, run: impl FnOnce() -> T) -> T {
        let _noted = self.deadline.map(|(plugin, deadline)| deadline.note(&plugin));
        let _outer = cancel::inherit(self.cancellation);
        self.outer.during(run)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Cancellation, *};
    use std::{sync::Arc, thread, time::Duration};

    #[test]
    fn another_thread_takes_over_the_deadline_and_the_cancellation() {
        let cancellation = Arc::<Cancellation>::default();
        let deadline = Deadline::after(Duration::from_secs(600));
        let plugin = "a.plugin".parse().unwrap();
        let context = deadline.hold(&plugin, || cancellation.during(1, CallContext::of_this_thread));
        let observed = || (Deadline::of("a.plugin"), cancel::cancelled());
        thread::spawn(move || {
            cancellation.cancel(1);
            assert_eq!(context.during(observed), (Some(deadline), true));
            assert_eq!(observed(), (None, false), "only during the call");
        })
        .join()
        .unwrap();
    }
}
