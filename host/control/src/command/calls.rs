//! The threads on which calls over HTTP run. A call that blocks delays no other call.
//!
//! Waking a thread costs more than most calls. So a request first puts its call into a queue and yields to the other
//! requests that have arrived, and then wakes one thread for all of their calls. While a thread is awake, it takes the
//! calls from the queue one after another. If a call has not ended after a millisecond, its request wakes or starts
//! another thread for the queue. So a call waits behind a blocked call for one millisecond at most.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, task::yield_now, time::timeout};

/// How long a request waits for its call before it adds a thread.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long an idle thread waits for a call before it exits. A plugin cannot be unmapped before the threads that called
/// it have exited.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// The queue of calls, and the threads that run them.
#[derive(Default)]
pub(super) struct Calls {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// The number of threads that run calls or were woken to do so.
    awake: usize,
    /// The number of threads that wait to be woken.
    asleep: usize,
    /// The number of threads that were woken but do not run yet. They also count as awake.
    called: usize,
}

/// A guard for a call in the queue. Dropping it ensures that a thread is awake for the call, even if the request was
/// cancelled.
struct Queued<'a>(&'a Arc<Calls>);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.awake == 0 && !state.queue.is_empty() {
            self.0.add(&mut state);
        }
    }
}

/// Why a call has no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The call has not ended before its deadline, and may still run.
    Late,
    /// The call panicked outside of the plugin, or no thread could be started for it.
    Broken,
}

impl Calls {
    /// Runs `work` on one of the threads, and waits for its result until the deadline.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        deadline: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoAnswer> {
        let (reply, mut answer) = oneshot::channel();
        let queued = self.queue(Box::new(move || drop(reply.send(work()))));
        yield_now().await;
        drop(queued);
        let first = timeout(PATIENCE.min(deadline), &mut answer).await;
        let answered = match first {
            Ok(answered) => answered,
            Err(_) => {
                self.hurry();
                timeout(deadline.saturating_sub(PATIENCE), answer).await.map_err(|_| NoAnswer::Late)?
            }
        };
        answered.map_err(|_| NoAnswer::Broken)
    }

    fn queue(self: &Arc<Self>, job: Job) -> Queued<'_> {
        self.state.lock().queue.push_back(job);
        Queued(self)
    }

    /// Called if a request has waited for too long: wakes or starts another thread, unless the queue is empty.
    fn hurry(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if !state.queue.is_empty() {
            self.add(&mut state);
        }
    }

    fn add(self: &Arc<Self>, state: &mut MutexGuard<'_, State>) {
        state.awake += 1;
        if state.asleep > 0 {
            state.asleep -= 1;
            state.called += 1;
            self.work.notify_one();
            return;
        }
        let calls = self.clone();
        if thread::Builder::new().name("replug-call".into()).spawn(move || calls.work()).is_err() {
            state.awake -= 1;
            // Dropping a job reports `NoAnswer::Broken` to the request that waits for it.
            state.queue.pop_front();
        }
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.queue.pop_front() {
                // The panic hook has reported the panic. The thread continues with the next job.
                MutexGuard::unlocked(&mut state, || drop(catch_unwind(AssertUnwindSafe(job))));
            }
            state.awake -= 1;
            state.asleep += 1;
            loop {
                let slept_enough = self.work.wait_for(&mut state, KEEP_ALIVE).timed_out();
                if state.called > 0 {
                    state.called -= 1;
                    break;
                }
                if slept_enough {
                    state.asleep -= 1;
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, sync::Barrier, task::Poll};

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn calls_that_wait_for_each_other_all_run_at_the_same_time() {
        let (calls, barrier) = (Arc::new(Calls::default()), Arc::new(Barrier::new(8)));
        let all = (0..8).map(|number| {
            let (calls, barrier) = (calls.clone(), barrier.clone());
            tokio::spawn(async move {
                let work = move || {
                    barrier.wait();
                    number
                };
                calls.run(LONG, work).await.unwrap()
            })
        });
        for (number, call) in all.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(call.await.unwrap(), number);
        }
    }

    #[tokio::test]
    async fn a_call_after_its_deadline_is_abandoned_and_the_next_call_runs() {
        let calls = Arc::new(Calls::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let late = calls.run(Duration::from_millis(20), move || held.recv().is_err()).await;
        assert!(matches!(late, Err(NoAnswer::Late)), "{late:?}");
        assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
        drop(release);
    }

    #[tokio::test]
    async fn a_queued_call_runs_although_its_request_is_cancelled() {
        let calls = Arc::new(Calls::default());
        let (done, made) = std::sync::mpsc::channel();
        {
            let mut run = std::pin::pin!(calls.run(LONG, move || done.send(7)));
            // The job is in the queue, and no thread is awake yet.
            let waits = poll_fn(|context| Poll::Ready(run.as_mut().poll(context).is_pending())).await;
            assert!(waits);
            assert_eq!(calls.state.lock().awake, 0);
        }
        assert_eq!(made.recv(), Ok(7));
    }

    #[tokio::test]
    async fn a_panicking_call_is_reported_as_broken_and_the_next_call_runs() {
        let calls = Arc::new(Calls::default());
        let broken = calls.run(LONG, || panic!("as the test wants")).await;
        assert!(matches!(broken, Err::<(), _>(NoAnswer::Broken)), "{broken:?}");
        assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
    }
}
