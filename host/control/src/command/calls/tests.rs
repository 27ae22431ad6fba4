//! Tests of the queue of calls and of its threads.

use super::*;
use std::{future::poll_fn, sync::Barrier, task::Poll};

const LONG: Duration = Duration::from_secs(60);
const MOST: usize = 64;

#[tokio::test]
async fn calls_that_wait_for_each_other_all_run_at_the_same_time() {
    let (calls, barrier) = (Calls::new(MOST), Arc::new(Barrier::new(8)));
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
    let calls = Calls::new(MOST);
    let (release, held) = std::sync::mpsc::channel::<()>();
    let late = calls.run(Duration::from_millis(20), move || held.recv().is_err()).await;
    assert!(matches!(late, Err(NoAnswer::Late)), "{late:?}");
    assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
    drop(release);
}

#[tokio::test]
async fn an_answer_is_sent_although_the_next_call_of_the_thread_blocks() {
    let calls = Calls::new(MOST);
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
    let calls = Calls::new(MOST);
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
    let calls = Calls::new(MOST);
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
    let calls = Calls::new(MOST);
    let broken = calls.run(LONG, || panic!("as the test wants")).await;
    assert!(matches!(broken, Err::<(), _>(NoAnswer::Broken)), "{broken:?}");
    assert_eq!(calls.run(LONG, || 7).await.unwrap(), 7);
}

#[test]
fn looks_add_one_thread_for_each_call_even_if_no_thread_runs_yet() {
    let calls = Calls::new(MOST);
    // Fewer than the limit, so that the limit alone does not stop the looks.
    for _ in 0..2 {
        calls.state.lock().push(Requested::new(|| ()).0);
    }
    let added: usize = (0..10).map(|_| calls.look().unwrap().added.len()).sum();
    assert_eq!(added, 2);
}

#[test]
fn a_failed_start_of_a_thread_fails_a_call_only_if_no_thread_is_awake() {
    let calls = Calls::new(MOST);
    for _ in 0..2 {
        calls.state.lock().push(Requested::new(|| ()).0);
    }
    calls.look().unwrap();
    let added = calls.look().unwrap().added.len();
    assert_eq!(added, 2);
    assert!(matches!(calls.start_fails(), (true, None)), "the other thread will take both calls");
    assert_eq!(calls.look().unwrap().added.len(), 1, "a look tries again");
    assert!(matches!(calls.start_fails(), (false, None)), "a failure is logged once");
    assert!(matches!(calls.start_fails(), (false, Some(_))), "no thread is left");
    assert_eq!(calls.state.lock().queue.len(), 1);
}

/// Requests and threads in a simulation: each method of [`Calls`] that locks the state is one step. The steps of all
/// threads run in a random order, as they may if the processors are busy.
struct Simulation {
    calls: Arc<Calls>,
    random: u64,
    /// The calls that were requested and whose requests have not yet yielded.
    requested: usize,
    /// The threads that were woken or started, and do not run yet.
    coming: usize,
    running: usize,
    /// The threads that have ended a call, and have not locked the state since.
    ending: usize,
    answered: usize,
    failed: usize,
}

impl Simulation {
    /// A random number less than `end` (xorshift).
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random % end as u64) as usize
    }

    fn request(&mut self) {
        let queued = self.calls.state.lock().queue.len();
        // The limit on concurrent calls. A call that has ended does not count, even if its thread does not sleep yet.
        if queued + self.running < MOST {
            self.calls.state.lock().push(Requested::new(|| ()).0);
            self.requested += 1;
        }
    }

    fn yielded(&mut self, can_start: bool) {
        if self.requested > 0 {
            self.requested -= 1;
            let added = self.calls.first();
            self.begin(added, can_start);
        }
    }

    fn look(&mut self, can_start: bool) {
        if let Some(Look { added, .. }) = self.calls.look() {
            self.begin(added, can_start);
        }
    }

    fn begin(&mut self, added: impl IntoIterator<Item = Added>, can_start: bool) {
        let (asleep, new): (Vec<_>, Vec<_>) =
            added.into_iter().partition(|added| matches!(added, Added::Asleep(_)));
        self.coming += asleep.len() + new.len();
        if !can_start {
            for _ in new {
                self.coming -= 1;
                let (_, failed) = self.calls.start_fails();
                let others = self.coming + self.running + self.ending;
                assert!(failed.is_none() || others == 0, "another thread would have taken the call");
                self.failed += usize::from(failed.is_some());
            }
        }
    }

    /// A thread locks the state.
    fn lock(&mut self) {
        let mut state = self.calls.state.lock();
        if self.coming > 0 {
            self.coming -= 1;
            state.coming -= 1;
            state.start_failed = false;
        } else if self.ending > 0 {
            self.ending -= 1;
        } else {
            return;
        }
        match state.pop() {
            Some(_) => self.running += 1,
            None => self.calls.rest(&mut state),
        }
    }

    fn end(&mut self) {
        if self.running > 0 {
            self.running -= 1;
            self.ending += 1;
            self.answered += 1;
        }
    }

    fn exit(&mut self) {
        self.calls.state.lock().asleep.pop();
    }

    fn check(&self) {
        let awake = self.calls.awake.load(Ordering::Relaxed);
        let state = self.calls.state.lock();
        assert_eq!((awake, state.coming), (self.coming + self.running + self.ending, self.coming));
        assert!(awake + state.asleep.len() <= MOST, "more threads than calls");
    }
}

#[test]
fn simulated_threads_are_never_more_than_calls_and_every_call_ends() {
    for seed in 1..200_u64 {
        let calls = Calls::new(MOST);
        let mut it = Simulation {
            calls,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            requested: 0,
            coming: 0,
            running: 0,
            ending: 0,
            answered: 0,
            failed: 0,
        };
        let mut requests = 0;
        for _ in 0..3000 {
            // In some periods, threads cannot be started.
            let can_start = seed % 3 > 0 || it.below(4) > 0;
            let before = it.requested;
            match it.below(12) {
                0..=3 => it.request(),
                4..=5 => it.yielded(can_start),
                6..=7 => it.look(can_start),
                8..=9 => it.lock(),
                10 => it.end(),
                _ => it.exit(),
            }
            requests += it.requested.saturating_sub(before);
            it.check();
        }
        while it.answered + it.failed < requests {
            it.yielded(true);
            it.look(true);
            it.lock();
            it.end();
            it.check();
        }
        assert!(it.calls.state.lock().queue.is_empty());
    }
}
