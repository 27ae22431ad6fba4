//! The threads on which calls over HTTP run. A call that blocks delays another call by a few milliseconds at most, if a
//! processor is free and a thread can be started.
//!
//! Waking a thread costs more than most calls. So a request first puts its call into a queue and yields to the other
//! requests that have arrived, and then wakes one thread for all of their calls. While a thread is awake, it takes the
//! calls from the queue one after another. If several threads sleep, a request wakes the one that has slept for the
//! shortest time, because the caches still contain its data. The others exit soon.
//!
//! A timer for each request would cost more than most calls, too. So one task watches all calls, once a millisecond
//! while there are any. For each call that was already in the queue at the previous look, the task wakes or starts
//! another thread, unless a thread that was woken or started earlier will take the call. So a blocked call cannot hold
//! up the queue. A call that has no answer after two looks is slow: from then on, its request waits with a timer for the
//! deadline.

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
pub(super) struct Calls {
    /// The maximum number of concurrent calls, and so of threads.
    most: usize,
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
    /// The number of threads that were woken or started, and have not locked the state since. Each of them will take a
    /// call from the queue. They also count as awake.
    coming: usize,
    /// Whether the last start of a thread failed.
    start_failed: bool,
}

/// A thread that has to be woken or started. Waking and starting take long, so the state is not locked meanwhile.
#[must_use]
enum Added {
    Asleep(Thread),
    New,
}

/// What follows from a look at the calls.
struct Look {
    /// The threads to wake or start.
    added: Vec<Added>,
    /// The calls that may be slow.
    slow: Vec<Arc<dyn Job>>,
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

    /// How many threads to add if `overdue` calls have been in the queue since before the last look, and `awake` threads
    /// are awake. There are at most `most` concurrent calls. If `most` threads are awake, one of them has ended its call
    /// and will take the next one from the queue.
    fn missing(&self, overdue: usize, (awake, most): (usize, usize)) -> usize {
        let missing = overdue.saturating_sub(self.coming).min(most.saturating_sub(awake));
        // If threads cannot be started, one attempt at each look is enough.
        if self.start_failed { missing.min(self.asleep.len().max(1)) } else { missing }
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
        calls.first().into_iter().for_each(|added| calls.begin(added));
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
    /// Threads for at most `most` concurrent calls. The caller ensures that there are not more.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, state: Mutex::default(), awake: AtomicUsize::new(0) })
    }

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
            let Some(Look { added, slow }) = self.look() else { return };
            added.into_iter().for_each(|added| self.begin(added));
            slow.iter().for_each(|job| job.becomes_slow());
        }
    }

    /// Looks at the calls once. Returns `None` if there are no calls.
    fn look(&self) -> Option<Look> {
        let mut state = self.state.lock();
        let (overdue, slow) = state.look();
        if slow.is_empty() && state.is_quiet() {
            (state.is_watched, state.start_failed) = (false, false);
            return None;
        }
        let missing = state.missing(overdue, (self.awake.load(Ordering::Relaxed), self.most));
        Some(Look { added: (0..missing).map(|_| self.add(&mut state)).collect(), slow })
    }

    /// The thread to wake or start, if there are calls in the queue and no thread is awake.
    fn first(&self) -> Option<Added> {
        let none_is_awake = || self.awake.load(Ordering::Relaxed) == 0;
        if !none_is_awake() {
            return None;
        }
        let mut state = self.state.lock();
        (none_is_awake() && !state.queue.is_empty()).then(|| self.add(&mut state))
    }

    /// Counts one more thread as awake. The caller passes the result to [`Calls::begin`].
    fn add(&self, state: &mut State) -> Added {
        self.awake.fetch_add(1, Ordering::Relaxed);
        state.coming += 1;
        state.asleep.pop().map_or(Added::New, Added::Asleep)
    }

    /// Wakes or starts a thread.
    fn begin(self: &Arc<Self>, added: Added) {
        if let Added::Asleep(thread) = added {
            thread.unpark();
            return;
        }
        let calls = self.clone();
        let started = thread::Builder::new().name("replug-call".into()).spawn(move || calls.work());
        if let Err(error) = started {
            let (is_first, failed) = self.start_fails();
            if is_first {
                tracing::error!(
                    "cannot start a thread for calls over HTTP: {error}; check the limits on threads (`ulimit -u`, and `pids.max` of the cgroup) and on memory"
                );
            }
            failed.into_iter().for_each(|job| job.fail());
        }
    }

    /// Records that a thread could not be started. Returns whether no other start has failed since the last one that
    /// succeeded, and a call that fails. A call fails only if no other thread will take it.
    fn start_fails(&self) -> (bool, Option<Arc<dyn Job>>) {
        let mut state = self.state.lock();
        state.coming -= 1;
        let was_last = self.awake.fetch_sub(1, Ordering::Relaxed) == 1;
        let is_first = !mem::replace(&mut state.start_failed, true);
        (is_first, if was_last { state.pop() } else { None })
    }

    fn work(&self) {
        let mut state = self.state.lock();
        state.start_failed = false;
        loop {
            state.coming -= 1;
            while let Some(job) = state.pop() {
                MutexGuard::unlocked(&mut state, || {
                    job.run();
                    drop(job);
                });
            }
            self.rest(&mut state);
            if !self.sleep(&mut state) {
                return;
            }
        }
    }

    /// Counts the calling thread as asleep.
    fn rest(&self, state: &mut State) {
        self.awake.fetch_sub(1, Ordering::Relaxed);
        state.asleep.push(thread::current());
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
mod tests;
