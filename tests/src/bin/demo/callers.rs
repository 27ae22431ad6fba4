//! Two threads that call without pause, and record the answers.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The results of the threads.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The number of calls that returned each answer.
    pub(crate) answers: BTreeMap<String, u64>,
    /// The errors of failed calls.
    pub(crate) failures: Vec<String>,
    /// How many answers came from an older version than an earlier answer of the same thread.
    pub(crate) stale: u64,
}

/// How many threads call.
const THREADS: usize = 2;

/// Threads that call until they are stopped.
pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    /// How many calls each thread has begun.
    calls: Arc<[AtomicU64; THREADS]>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Callers {
    /// Starts two threads that make this call.
    pub(crate) fn start(greet: impl Fn() -> Result<String, String> + Clone + Send + 'static) -> Self {
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<[AtomicU64; THREADS]>::default());
        let start = |thread: usize| {
            let (greet, stop, calls) = (greet.clone(), stop.clone(), calls.clone());
            thread::spawn(move || {
                let mut seen = Seen::default();
                let mut last = String::new();
                while !stop.load(Ordering::Relaxed) {
                    calls[thread].fetch_add(1, Ordering::Relaxed);
                    match greet() {
                        Ok(answer) => seen.note(answer, &mut last),
                        Err(error) => seen.failures.push(error),
                    }
                }
                seen
            })
        };
        let threads = (0..THREADS).map(start).collect();
        Self { stop, calls, threads }
    }

    /// The number of calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.begun().iter().sum()
    }

    /// Waits until each thread has made a whole call, so that each has seen the version that serves now.
    pub(crate) fn wait_for_a_call_of_each(&self) {
        let before = self.begun();
        // A thread counts a call before it makes the call. The first call that is counted from now on has ended when
        // the thread counts the next one.
        while self.begun().iter().zip(before).any(|(now, before)| *now < before + 2) {
            thread::yield_now();
        }
    }

    fn begun(&self) -> [u64; THREADS] {
        std::array::from_fn(|thread| self.calls[thread].load(Ordering::Relaxed))
    }

    /// Ends the threads, and returns their results.
    ///
    /// # Panics
    ///
    /// If one of them panicked.
    pub(crate) fn join(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().expect("a caller does not panic");
            for (answer, count) in seen.answers {
                *all.answers.entry(answer).or_default() += count;
            }
            all.failures.extend(seen.failures);
            all.stale += seen.stale;
        }
        all
    }
}

impl Seen {
    fn note(&mut self, answer: String, last: &mut String) {
        if answer != *last && self.answers.contains_key(&answer) {
            self.stale += 1;
        }
        match self.answers.get_mut(&answer) {
            Some(count) => *count += 1,
            None => drop(self.answers.insert(answer.clone(), 1)),
        }
        if answer != *last {
            *last = answer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_for_a_call_of_each_waits_until_each_thread_sees_the_version() {
        const VERSIONS: u64 = 1000;
        let serves = Arc::<AtomicU64>::default();
        let version = serves.clone();
        let callers = Callers::start(move || {
            // As in a real call, the serving version is looked up a moment after the call has begun.
            thread::yield_now();
            Ok(format!("{} to {:?}", version.load(Ordering::Relaxed), thread::current().id()))
        });
        callers.wait_for_a_call_of_each();
        for next in 1..VERSIONS {
            serves.store(next, Ordering::Relaxed);
            callers.wait_for_a_call_of_each();
        }
        let seen = callers.join();
        assert_eq!(seen.answers.len() as u64, VERSIONS * THREADS as u64);
    }
}
