//! Threads that call without pause and check every answer.

use replug::Handle;
use replug_interfaces::Counter;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The numbers that the main thread passes to the callers.
#[derive(Debug, Default)]
pub(crate) struct Board {
    /// The number of the newest artifact that is known to serve.
    pub(crate) published: AtomicU64,
    /// The number of the newest artifact that may serve.
    pub(crate) offered: AtomicU64,
    stop: AtomicBool,
}

/// The results of the callers.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) calls: u64,
    /// Calls that returned an error.
    pub(crate) failed: u64,
    /// The number of answers of a generation that must no longer be called, or must not be called yet.
    pub(crate) wrong: u64,
}

impl Seen {
    /// Makes one call and checks it. `last` is the last number that this thread has seen.
    fn call(&mut self, handle: &Handle<dyn Counter>, board: &Board, last: &mut u64) {
        let oldest = board.published.load(Ordering::SeqCst).max(*last);
        let answer = handle.value();
        let newest = board.offered.load(Ordering::SeqCst);
        self.calls += 1;
        match answer {
            Ok(number) => {
                self.wrong += u64::from(!(oldest..=newest).contains(&number));
                *last = number;
            }
            Err(error) => {
                if self.failed == 0 {
                    eprintln!("a call failed: {error}");
                }
                self.failed += 1;
            }
        }
    }
}

impl std::iter::Sum for Seen {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            calls: sum.calls + one.calls,
            failed: sum.failed + one.failed,
            wrong: sum.wrong + one.wrong,
        })
    }
}

/// Threads that call until they are stopped.
pub(crate) struct Callers {
    board: Arc<Board>,
    threads: Vec<JoinHandle<Seen>>,
}

impl Callers {
    /// Starts `count` threads.
    pub(crate) fn start(count: usize, handle: &Arc<Handle<dyn Counter>>, board: &Arc<Board>) -> Self {
        let start = |_| {
            let (handle, board) = (handle.clone(), board.clone());
            thread::spawn(move || {
                let (mut seen, mut last) = (Seen::default(), 0);
                while !board.stop.load(Ordering::Relaxed) {
                    seen.call(&handle, &board, &mut last);
                }
                seen
            })
        };
        Self { board: board.clone(), threads: (0..count).map(start).collect() }
    }

    /// Stops the threads and waits until they have ended. A thread that ends runs the destructors that the generations
    /// have left in it.
    ///
    /// # Panics
    ///
    /// If one of them panicked.
    pub(crate) fn join(self) -> Seen {
        self.board.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a caller does not panic")).sum()
    }
}

/// Runs `count` threads in sequence. Each thread makes one call and ends.
///
/// # Panics
///
/// If one of them panicked.
pub(crate) fn come_and_go(count: usize, handle: &Arc<Handle<dyn Counter>>, board: &Arc<Board>) -> Seen {
    let visit = |_| {
        let (handle, board) = (handle.clone(), board.clone());
        let visitor = thread::spawn(move || {
            let mut seen = Seen::default();
            seen.call(&handle, &board, &mut 0);
            seen
        });
        visitor.join().expect("a visitor does not panic")
    };
    (0..count).map(visit).sum()
}
