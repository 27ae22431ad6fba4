//! The threads on which calls over HTTP run. A call that blocks delays another call by a few milliseconds at most.
//!
//! Waking a thread costs more than most calls. So a request first puts its call into a queue and yields to the other
//! requests that have arrived, and then wakes one thread for all of their calls. While a thread is awake, it takes the
//! calls from the queue one after another. If several threads sleep, a request wakes the one that has slept for the
//! shortest time, because the caches still contain its data. The others exit soon.
//!
//! A timer for each request would cost more than most calls, too. So one task watches all calls, once a millisecond
//! while there are any. For each call that was already in the queue at the previous look, the task wakes or starts
//! another thread. So a blocked call cannot hold up the queue. A call that has no answer after two looks is slow: from
//! then on, its request waits with a timer for the deadline.

mod job;
mod places;

use job::{Job, Reply, Requested};
use parking_lot::{Mutex, MutexGuard};
pub(super) use places::Places;
use std::{
    collections::VecDeque,
    mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};

/// The interval at which calls without an answer are examined.
const LOOK: Duration = Duration::from_millis(1);
/// How long an idle thread waits for a call before it exits. The time is short, because a plugin cannot be unmapped
/// before the threads that called it have exited.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// The queue of calls, and the threads that run them.
#[derive(Default)]
pub(super) struct Calls {
    state: Mutex<State>,
    /// The number of threads that run calls or were woken to do so. It changes only while the state is locked, and a
    /// thread reduces it only when the queue is empty. So if a request has put its call into the queue, and then reads
    /// a number other than 0, an awake thread will take the call.
    awake: AtomicUsize,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Arc<dyn Job>>,
    /// The number of calls that have been in the queue since before the last look. They are at its front.
    overdue: usize,
    /// The calls that were requested since the last look.
    fresh: Vec<Arc<dyn Job>>,
    /// The calls that were requested between the last two looks.
    aged: Vec<Arc<dyn Job>>,
    /// Whether a task looks at the calls.
    is_watched: bool,
    /// The threads that wait to be woken. The thread that began to wait last is at the end.
    asleep: Vec<Thread>,
}

/// A thread that has to be woken or started. Waking and starting take long, so the state is not locked meanwhile.
#[must_use]
enum Added {
    Asleep(Thread),
    New,
}

impl State {
    fn push(&mut self, job: Arc<dyn Job>) {
        self.fresh.push(job.clone());
        self.queue.push_back(job);
    }

    fn pop(&mut self) -> Option<Arc<dyn Job>> {
        self.overdue = self.overdue.saturating_sub(1);
        self.queue.pop_front()
    }

    /// Looks at the calls. Returns how many of them have been in the queue since before the last look, and the calls
    /// that may be slow.
    fn look(&mut self) -> (usize, Vec<Arc<dyn Job>>) {
        let overdue = mem::replace(&mut self.overdue, self.queue.len());
        (overdue, mem::replace(&mut self.aged, mem::take(&mut self.fresh)))
    }

    /// Whether there is no call to look at.
    fn is_quiet(&self) -> bool {
        self.queue.is_empty() && self.fresh.is_empty() && self.aged.is_empty()
    }
}

/// A guard for a call in the queue. Dropping it ensures that a thread is awake for the call, even if the request was
/// cancelled.
struct Queued<'a>(&'a Arc<Calls>);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let Self(calls) = self;
        let none_is_awake = || calls.awake.load(Ordering::Relaxed) == 0;
        if !none_is_awake() {
            return;
        }
        let added = {
            let mut state = calls.state.lock();
            (none_is_awake() && !state.queue.is_empty()).then(|| calls.add(&mut state))
        };
        added.into_iter().for_each(|added| calls.begin(added));
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
        let (job, answer) = Requested::new(work);
        let queued = self.queue(job);
        yield_now().await;
        drop(queued);
        let rest = match answer.await.map_err(|_| NoAnswer::Broken)? {
            Reply::Answer(answer) => return Ok(answer),
            Reply::Slow(rest) => rest,
        };
        let answered = timeout(deadline.saturating_sub(LOOK), rest).await.map_err(|_| NoAnswer::Late)?;
        answered.map_err(|_| NoAnswer::Broken)
    }

    fn queue(self: &Arc<Self>, job: Arc<dyn Job>) -> Queued<'_> {
        let is_watched = {
            let mut state = self.state.lock();
            state.push(job);
            mem::replace(&mut state.is_watched, true)
        };
        if !is_watched {
            tokio::spawn(self.clone().watch());
        }
        Queued(self)
    }

    /// Looks at the calls until there are none.
    async fn watch(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            let (added, slow) = {
                let mut state = self.state.lock();
                let (overdue, slow) = state.look();
                if slow.is_empty() && state.is_quiet() {
                    state.is_watched = false;
                    return;
                }
                ((0..overdue).map(|_| self.add(&mut state)).collect::<Vec<_>>(), slow)
            };
            added.into_iter().for_each(|added| self.begin(added));
            slow.iter().for_each(|job| job.becomes_slow());
        }
    }

    /// Counts one more thread as awake. The caller passes the result to [`Calls::begin`].
    fn add(&self, state: &mut State) -> Added {
        self.awake.fetch_add(1, Ordering::Relaxed);
        state.asleep.pop().map_or(Added::New, Added::Asleep)
    }

    /// Wakes or starts a thread.
    fn begin(self: &Arc<Self>, added: Added) {
        if let Added::Asleep(thread) = added {
            thread.unpark();
            return;
        }
        let calls = self.clone();
        if thread::Builder::new().name("replug-call".into()).spawn(move || calls.work()).is_err() {
            let mut state = self.state.lock();
            self.awake.fetch_sub(1, Ordering::Relaxed);
            if let Some(job) = state.pop() {
                job.fail();
            }
        }
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            while let Some(job) = state.pop() {
                MutexGuard::unlocked(&mut state, || {
                    job.run();
                    drop(job);
                });
            }
            self.awake.fetch_sub(1, Ordering::Relaxed);
            state.asleep.push(thread::current());
            if !self.sleep(&mut state) {
                return;
            }
        }
    }

    /// Waits until the calling thread is woken. Returns `false` if it was not woken within [`KEEP_ALIVE`]; it is then
    /// no longer in `asleep`.
    fn sleep(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let (own, until) = (thread::current().id(), Instant::now() + KEEP_ALIVE);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            MutexGuard::unlocked(state, || thread::park_timeout(left));
            // A thread that wakes this one takes it from the list first. If it is still in the list, the park has ended
            // by the timeout or spuriously.
            let Some(place) = state.asleep.iter().position(|it| it.id() == own) else { return true };
            if until <= Instant::now() {
                state.asleep.remove(place);
                return false;
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
    async fn an_answer_is_sent_although_the_next_call_of_the_thread_blocks() {
        let calls = Arc::new(Calls::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let blocked = calls.run(LONG, move || held.recv().is_err());
        tokio::pin!(blocked);
        tokio::select! {
            biased;
            answer = calls.run(LONG, || 7) => assert_eq!(answer.unwrap(), 7),
            _ = &mut blocked => panic!("the call ended before it was released"),
        }
        drop(release);
        assert!(blocked.await.unwrap());
    }

    #[tokio::test]
    async fn a_slow_call_is_answered_and_the_watch_ends_with_the_last_call() {
        let calls = Arc::new(Calls::default());
        let (release, held) = std::sync::mpsc::channel::<()>();
        let slow = tokio::spawn({
            let calls = calls.clone();
            async move { calls.run(LONG, move || held.recv().is_err()).await }
        });
        // The thread of the first call is blocked, so these calls need another thread.
        for number in 0..100 {
            assert_eq!(calls.run(LONG, move || number).await.unwrap(), number);
        }
        drop(release);
        assert!(slow.await.unwrap().unwrap());
        while calls.state.lock().is_watched {
            yield_now().await;
        }
        assert!(calls.state.lock().is_quiet());
        assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
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
            assert_eq!(calls.awake.load(Ordering::Relaxed), 0);
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
