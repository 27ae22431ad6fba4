//! One call in the queue, and the channel for its answer.

use parking_lot::Mutex;
use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};
use tokio::sync::oneshot;

/// A call in the queue.
pub(super) trait Job: Send + Sync {
    /// Makes the call, and sends its answer. If the call panics, its request gets no answer.
    fn run(&self);

    /// Asks the request to wait with a timer, if the call has no answer yet.
    fn becomes_slow(&self);

    /// Ends the wait of the request without an answer, because no thread can run the call.
    fn fail(&self);
}

/// What a request gets.
pub(super) enum Reply<T> {
    /// The result of the call.
    Answer(T),
    /// The call is slow. The receiver gets its result.
    Slow(oneshot::Receiver<T>),
}

/// A call that was requested.
pub(super) struct Requested<T, W> {
    work: Mutex<Option<W>>,
    waiting: Mutex<Waiting<T>>,
}

/// How the request waits.
enum Waiting<T> {
    AtFirst(oneshot::Sender<Reply<T>>),
    WithTimer(oneshot::Sender<T>),
    /// It does not wait any more.
    Over,
}

impl<T: Send + 'static, W: FnOnce() -> T + Send + 'static> Requested<T, W> {
    /// A call, and the receiver of its answer.
    pub(super) fn new(work: W) -> (Arc<Self>, oneshot::Receiver<Reply<T>>) {
        let (reply, answer) = oneshot::channel();
        let waiting = Mutex::new(Waiting::AtFirst(reply));
        (Arc::new(Self { work: Mutex::new(Some(work)), waiting }), answer)
    }
}

impl<T: Send + 'static, W: FnOnce() -> T + Send + 'static> Job for Requested<T, W> {
    fn run(&self) {
        let Some(work) = self.work.lock().take() else { return };
        // The panic hook has reported the panic. The thread continues with the next job.
        let answer = catch_unwind(AssertUnwindSafe(work));
        let waiting = mem::replace(&mut *self.waiting.lock(), Waiting::Over);
        // An error means that the request was cancelled, or that its deadline has passed.
        match (answer, waiting) {
            (Ok(answer), Waiting::AtFirst(reply)) => drop(reply.send(Reply::Answer(answer))),
            (Ok(answer), Waiting::WithTimer(reply)) => drop(reply.send(answer)),
            (Err(_), _) | (_, Waiting::Over) => {}
        }
    }

    fn becomes_slow(&self) {
        let mut waiting = self.waiting.lock();
        *waiting = match mem::replace(&mut *waiting, Waiting::Over) {
            Waiting::AtFirst(reply) => {
                let (later, rest) = oneshot::channel();
                drop(reply.send(Reply::Slow(rest)));
                Waiting::WithTimer(later)
            }
            other => other,
        };
    }

    fn fail(&self) {
        *self.waiting.lock() = Waiting::Over;
    }
}
