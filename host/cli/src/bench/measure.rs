//! Calls a method in several ways in turn, and records how long the calls take.

use super::report::{Api, Lane};
use hdrhistogram::Histogram;
use replug::CallError;
use replug_runtime::load::in_process::allocations_of_thread;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Calls that are shorter than this are timed in batches of at least this duration, because the clock itself takes tens
/// of nanoseconds.
const SHORTEST: Duration = Duration::from_micros(2);

/// The longest sample, in picoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000_000;

/// The maximum number of calls whose allocations are counted. If calls are slow, only the calls of one turn are
/// counted.
const COUNTED: u32 = 1_000;

/// How long one way is measured before the next one.
const TURN: Duration = Duration::from_millis(10);

/// The divisor of the total time that gives the time of the warm-up.
const WARM_UP: u32 = 10;

/// The minimum numbers of samples for the percentiles, so that at least one sample is above each percentile.
const FOR_P99: u64 = 100;
const FOR_P99_9: u64 = 1_000;

/// A call that failed.
pub(super) type Failure = CallError<Value>;

/// A call of the method.
pub(super) type Call = Box<dyn Fn() -> Result<(), Failure> + Send>;

/// One way of calling the method.
pub(super) struct Way {
    lane: Lane,
    api: Api,
    call: Call,
    /// How many calls are timed together.
    batch: u32,
    /// Whether the first batch of a turn is not recorded, because the other ways have replaced the content of the
    /// caches. Set if a call takes much less time than a turn.
    leads_in: bool,
    calls: u64,
    time: Duration,
    times: Histogram<u64>,
}

impl Way {
    pub(super) fn new(lane: Lane, api: Api, call: Call) -> Self {
        Self {
            lane,
            api,
            call,
            batch: 1,
            leads_in: false,
            calls: 0,
            time: Duration::ZERO,
            times: Histogram::new_with_bounds(1, LONGEST, 3).expect("the bounds are valid"),
        }
    }

    /// Calls the method until the time has passed, but at least once. Then decides how many calls are timed together.
    fn warm_up(&mut self, time: Duration) -> Result<(), Failure> {
        let (since, mut calls) = (Instant::now(), 0);
        loop {
            (self.call)()?;
            calls += 1;
            let took = since.elapsed();
            if took >= time {
                let mean = took / calls;
                self.batch = batch_for(mean);
                self.leads_in = mean < TURN / 10;
                return Ok(());
            }
        }
    }

    /// Measures batches until the turn is over or the time is up, but at least one.
    fn turn(&mut self, until: Instant) -> Result<(), Failure> {
        if self.leads_in {
            self.timed_batch()?;
        }
        let end = until.min(Instant::now() + TURN);
        loop {
            let (began, ended) = self.timed_batch()?;
            self.record(ended - began);
            if ended >= end {
                return Ok(());
            }
        }
    }

    fn timed_batch(&self) -> Result<(Instant, Instant), Failure> {
        let began = Instant::now();
        for _ in 0..self.batch {
            (self.call)()?;
        }
        Ok((began, Instant::now()))
    }

    /// Records a batch that took this long. A sample is the mean of the batch, in picoseconds.
    fn record(&mut self, took: Duration) {
        self.calls += u64::from(self.batch);
        self.time += took;
        let picoseconds = took.as_nanos() * 1_000 / u128::from(self.batch);
        self.times.saturating_record(u64::try_from(picoseconds).unwrap_or(u64::MAX));
    }

    /// The allocations of a call: the mean of some calls. The counting of allocations must have begun.
    pub(super) fn allocations(&self) -> Result<f64, Failure> {
        let end = Instant::now() + TURN;
        let (before, mut calls) = (allocations_of_thread(), 0);
        while calls < COUNTED && (calls == 0 || Instant::now() < end) {
            (self.call)()?;
            calls += 1;
        }
        #[expect(clippy::cast_precision_loss, reason = "the value has few digits")]
        let allocations = (allocations_of_thread() - before) as f64;
        Ok(allocations / f64::from(calls))
    }

    pub(super) fn row(&self, allocations: Option<f64>) -> Row {
        let samples = self.times.len();
        #[expect(clippy::cast_precision_loss, reason = "the value has three digits")]
        let at =
            |quantile, least| (samples >= least).then(|| self.times.value_at_quantile(quantile) as f64 / 1e3);
        #[expect(clippy::cast_precision_loss, reason = "no measurement makes so many calls")]
        let calls_per_second = self.calls as f64 / self.time.as_secs_f64().max(1e-9);
        Row {
            lane: self.lane,
            api: self.api,
            calls: self.calls,
            batch: self.batch,
            calls_per_second,
            p50_ns: at(0.5, 1).unwrap_or(0.0),
            p99_ns: at(0.99, FOR_P99),
            p99_9_ns: at(0.999, FOR_P99_9),
            allocations,
        }
    }
}

/// How many calls with this mean duration are timed together.
fn batch_for(mean: Duration) -> u32 {
    let batch = SHORTEST.as_nanos().div_ceil(mean.as_nanos().max(1));
    u32::try_from(batch).unwrap_or(u32::MAX).max(1)
}

/// What was measured of one way.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) lane: Lane,
    pub(super) api: Api,
    pub(super) calls: u64,
    /// How many calls were timed together. If there are several, the percentiles are those of their means.
    pub(super) batch: u32,
    pub(super) calls_per_second: f64,
    pub(super) p50_ns: f64,
    /// `None` if there were too few calls to know.
    pub(super) p99_ns: Option<f64>,
    pub(super) p99_9_ns: Option<f64>,
    /// The mean of some calls. `None` if allocations could not be counted.
    pub(super) allocations: Option<f64>,
}

/// Warms all ways up, and then measures them in turn until the total time has passed. So a change of the machine's
/// speed affects all ways alike.
pub(super) fn rounds(ways: &mut [Way], total: Duration) -> Result<(), Failure> {
    let end = Instant::now() + total;
    let each = total / WARM_UP / u32::try_from(ways.len().max(1)).unwrap_or(u32::MAX);
    for way in &mut *ways {
        way.warm_up(each)?;
    }
    loop {
        for way in &mut *ways {
            way.turn(end)?;
        }
        if Instant::now() >= end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replug_runtime::load::in_process::count_allocations;
    use std::{cell::Cell, hint::black_box, iter::repeat_n};

    fn way(call: impl Fn() -> Result<(), Failure> + Send + 'static) -> Way {
        Way::new(Lane::InProcess, Api::Raw, Box::new(call))
    }

    #[test]
    fn short_calls_are_timed_in_batches() {
        let batches = [0, 40, 999, 1_999, 2_000, 50_000].map(|ns| batch_for(Duration::from_nanos(ns)));
        assert_eq!(batches, [2_000, 50, 3, 2, 1, 1]);
    }

    #[test]
    fn a_row_has_the_percentiles_of_the_samples() {
        let mut way = way(|| Ok(()));
        way.batch = 2;
        for took in repeat_n(4, 1_979).chain(repeat_n(20, 20)).chain([400]) {
            way.record(Duration::from_micros(took));
        }
        let row = way.row(Some(1.5));
        let near = |value: Option<f64>, expected: f64| (value.unwrap() / expected - 1.0).abs() < 0.002;
        assert_eq!((row.calls, row.batch, row.allocations), (4_000, 2, Some(1.5)));
        assert!(near(Some(row.p50_ns), 2_000.0), "{row:?}");
        assert!(near(row.p99_ns, 10_000.0) && near(row.p99_9_ns, 10_000.0), "{row:?}");
        assert!(near(Some(row.calls_per_second), 4_000.0 / 0.008_716), "{row:?}");
    }

    #[test]
    fn a_percentile_needs_enough_samples() {
        let percentiles = |samples| {
            let mut way = way(|| Ok(()));
            (0..samples).for_each(|_| way.record(Duration::from_micros(5)));
            let row = way.row(None);
            (row.p50_ns > 0.0, row.p99_ns.is_some(), row.p99_9_ns.is_some())
        };
        assert_eq!(percentiles(99), (true, false, false));
        assert_eq!(percentiles(100), (true, true, false));
        assert_eq!(percentiles(1_000), (true, true, true));
    }

    #[test]
    fn every_way_is_measured_even_if_the_time_is_up() {
        let mut ways = [way(|| Ok(())), way(|| Ok(()))];
        rounds(&mut ways, Duration::ZERO).unwrap();
        assert!(ways.iter().all(|way| way.row(None).calls >= 1));
    }

    #[test]
    fn the_allocations_of_a_call_are_a_mean() {
        count_allocations().unwrap();
        let calls = Cell::new(0_usize);
        let half = way(move || {
            calls.set(calls.get() + 1);
            drop(black_box(Vec::<u8>::with_capacity(calls.get() % 2)));
            Ok(())
        });
        let (none, half) = (way(|| Ok(())).allocations().unwrap(), half.allocations().unwrap());
        assert_eq!(none, 0.0);
        assert!((half - 0.5).abs() < 0.1, "{half}");
    }

    #[test]
    fn a_failing_call_ends_the_measurement() {
        let calls = Cell::new(0);
        let failing = way(move || {
            calls.set(calls.get() + 1);
            if calls.get() < 3 { Ok(()) } else { Err(CallError::Plugin(Value::from("too often"))) }
        });
        let failed = rounds(&mut [failing], Duration::from_secs(3_600)).unwrap_err();
        assert!(matches!(failed, CallError::Plugin(error) if error == "too often"));
    }
}
