//! The threads on which calls over HTTP run. A call may block, and then delays no other call.
//!
//! Waking a thread for each call costs more than most calls. So a request puts its call into the queue and yields to
//! the other requests that have arrived by now, before it wakes one thread for all of them. While one of the threads is
//! awake, calls are left for it. If a caller finds after a millisecond that its call has not ended, it adds another
//! thread. In that way, each queued call brings one thread, so that no call waits behind one that blocks.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::{sync::oneshot, task::yield_now, time::timeout};

/// How long a call may be left for a thread that is awake.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long an idle thread stays. A plugin cannot be unmapped before the threads that called it have ended.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce() + Send>;

/// The threads. There are as many as there is work for.
#[derive(Default)]
pub(super) struct Calls {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    /// Threads that work or were woken.
    awake: usize,
    asleep: usize,
    /// Of these threads, those that were woken and do not run yet.
    called: usize,
}

/// A call in the queue. When this is dropped, a thread is awake for the call, even if no caller waits for it any more.
struct Queued<'a>(&'a Arc<Calls>);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        if state.awake == 0 && !state.queue.is_empty() {
            self.0.add(&mut state);
        }
    }
}

/// Why a call gave no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The call has not ended in time, and may still run.
    Late,
    /// The call panicked outside of the plugin, or no thread could be started for it.
    Broken,
}

impl Calls {
    /// Runs the work on one of the threads, and waits for its result.
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

    /// A caller has waited for too long.
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
            // Dropping a job informs the caller that waits for it.
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
    async fn a_call_that_is_late_is_given_up_and_the_next_one_runs() {
        let calls = Arc::new(Calls::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let late = calls.run(Duration::from_millis(20), move || held.recv().is_err()).await;
        assert!(matches!(late, Err(NoAnswer::Late)), "{late:?}");
        assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
        drop(release);
    }

    #[tokio::test]
    async fn a_queued_call_runs_after_its_caller_leaves() {
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
    async fn a_panic_is_an_answer_of_its_own_and_ends_no_thread_s_work() {
        let calls = Arc::new(Calls::default());
        let broken = calls.run(LONG, || panic!("as the test wants")).await;
        assert!(matches!(broken, Err::<(), _>(NoAnswer::Broken)), "{broken:?}");
        assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
    }
}
