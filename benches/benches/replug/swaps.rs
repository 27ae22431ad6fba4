//! The longest calls while versions are swapped, compared with the longest calls without swaps.

use crate::{bare::Bare, served::Served};
use anyhow::{Result, ensure};
use hdrhistogram::Histogram;
use replug_benches::{Table, Target};
use replug_interfaces::CounterClient;
use std::{
    hint::black_box,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

/// The time between two swaps.
const EVERY: Duration = Duration::from_millis(10);
/// How long a turn of one caller is.
const TURN: Duration = Duration::from_millis(500);
const ROUNDS: u64 = 10;
const MOST: f64 = 3.0;
/// The longest duration of a call, in nanoseconds: an hour. A longer one counts as an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// The durations of single calls, in nanoseconds.
struct Times {
    caller: &'static str,
    quiet: Histogram<u64>,
    swapped: Histogram<u64>,
}

impl Times {
    fn new(caller: &'static str) -> Self {
        let times = || Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid");
        Self { caller, quiet: times(), swapped: times() }
    }

    /// The p99.9 while versions are swapped, divided by the p99.9 without swaps.
    fn ratio(&self) -> f64 {
        p99_9(&self.swapped) / p99_9(&self.quiet)
    }
}

fn p99_9(times: &Histogram<u64>) -> f64 {
    times.value_at_quantile(0.999) as f64
}

/// Measures calls of the fixture `numbered` through a typed handle and through the bare function pointer. In each
/// round, each caller has a turn without swaps and one with a swap each 10 ms. Each artifact differs from the previous
/// one.
pub(crate) fn measure(library: &Path, pointer: &CounterClient<Bare>) -> Result<(Table, Target)> {
    let served = Served::start(library, "[reload]\npreflight = \"off\"")?;
    let handle = served.handle.clone();
    let mut swaps = Swaps { served, done: 0, took: Duration::ZERO };

    let (mut handles, mut pointers) = (Times::new("typed handle"), Times::new("function pointer"));
    for _ in 0..ROUNDS {
        let call = || handle.increment(black_box(1)).is_ok();
        sample(&mut handles.quiet, TURN, call)?;
        swaps.during(|| sample(&mut handles.swapped, TURN, call))?;
        let call = || pointer.increment(black_box(1)).is_ok();
        sample(&mut pointers.quiet, TURN, call)?;
        swaps.during(|| sample(&mut pointers.swapped, TURN, call))?;
    }
    let (swapped, interval) = (swaps.done, swaps.took / swaps.done.max(1) as u32);
    swaps.served.host.shutdown().wait();
    Ok(report(&handles, &pointers, swapped, interval))
}

/// Swaps the version of the plugin again and again.
struct Swaps {
    served: Served,
    done: u64,
    took: Duration,
}

impl Swaps {
    /// Swaps versions on another thread while `work` runs.
    fn during(&mut self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let swapping = scope.spawn(|| self.swap_until(&stop));
            let worked = work();
            stop.store(true, Ordering::Relaxed);
            swapping.join().unwrap_or_else(|_| anyhow::bail!("the thread that swaps has panicked"))?;
            worked
        })
    }

    fn swap_until(&mut self, stop: &AtomicBool) -> Result<()> {
        let began = Instant::now();
        let mut due = began;
        while !stop.load(Ordering::Relaxed) {
            self.served.reload(self.done + 1)?;
            self.done += 1;
            due += EVERY;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        self.took += began.elapsed();
        Ok(())
    }
}

/// Times single calls for this duration.
fn sample(times: &mut Histogram<u64>, during: Duration, call: impl Fn() -> bool) -> Result<()> {
    let end = Instant::now() + during;
    loop {
        let began = Instant::now();
        let succeeded = black_box(call());
        let ended = Instant::now();
        ensure!(succeeded, "a call has failed");
        times.saturating_record(u64::try_from((ended - began).as_nanos()).unwrap_or(u64::MAX));
        if ended >= end {
            return Ok(());
        }
    }
}

fn report(handles: &Times, pointers: &Times, swapped: u64, interval: Duration) -> (Table, Target) {
    let row = |caller: &str, during: &str, times: &Histogram<u64>| {
        let ns = [0.5, 0.99, 0.999, 0.9999].map(|share| times.value_at_quantile(share).to_string());
        let head = [format!("{caller}, {during}"), times.len().to_string()];
        let most = format!("{:.1}", times.max() as f64 / 1e3);
        head.into_iter().chain(ns).chain([most]).collect()
    };
    let during = format!("a reload every {:.1} ms", interval.as_secs_f64() * 1e3);
    let rows = [handles, pointers].into_iter().flat_map(|times| {
        [row(times.caller, "no reloads", &times.quiet), row(times.caller, &during, &times.swapped)]
    });
    let cell = |times: &Times| format!("{:.0} ns", p99_9(&times.swapped));
    let target = Target {
        what: "p99.9 of calls through a handle during reloads, relative to the p99.9 without reloads",
        bound: "at most 3 times",
        measured: format!(
            "{:.2} times ({swapped} reloads, one every {:.1} ms)",
            handles.ratio(),
            interval.as_secs_f64() * 1e3
        ),
        met: handles.ratio() <= MOST,
        ours: Some(cell(handles)),
        floor: Some(format!("{} (function pointer, {:.2} times)", cell(pointers), pointers.ratio())),
        ..Target::default()
    };
    let columns = vec!["single calls, ns", "calls", "p50", "p99", "p99.9", "p99.99", "longest, us"];
    (Table { columns, rows: rows.collect() }, target)
}
