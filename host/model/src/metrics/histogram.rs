//! A histogram of durations.

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// The numbers of durations in fixed ranges.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Histogram {
    /// The inclusive upper bounds of the ranges in seconds, in ascending order. One more range contains the values
    /// above the last bound.
    bounds: &'static [f64],
    /// The number of values in each range.
    counts: Vec<u64>,
    sum_seconds: f64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum_seconds: 0.0 }
    }

    pub(crate) fn note(&mut self, seconds: f64) {
        self.counts[range(self.bounds, seconds)] += 1;
        self.sum_seconds += seconds;
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_seconds
    }

    /// The upper bounds in seconds, in ascending order, each with the number of values up to the bound. The last bound
    /// is infinite.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }
}

/// A histogram that all threads can write to. Reading it blocks no thread.
#[derive(Debug)]
pub(crate) struct SharedHistogram {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    sum_ns: AtomicU64,
}

impl SharedHistogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum_ns: AtomicU64::new(0) }
    }

    pub(crate) fn note_ns(&self, took_ns: u64) {
        self.counts[range(self.bounds, took_ns as f64 / 1e9)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(took_ns, Ordering::Relaxed);
    }

    /// The current content. A value that is recorded concurrently may be included in the counts but not in the sum, or
    /// in the sum but not in the counts.
    pub(crate) fn read(&self) -> Histogram {
        Histogram {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum_seconds: self.sum_ns.load(Ordering::Relaxed) as f64 / 1e9,
        }
    }
}

/// The index of the range that contains `seconds`.
fn range(bounds: &[f64], seconds: f64) -> usize {
    bounds.partition_point(|bound| *bound < seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: &[f64] = &[0.001, 0.01, 0.1];

    #[test]
    fn histogram_bounds_are_inclusive_and_larger_values_are_counted() {
        let shared = SharedHistogram::new(BOUNDS);
        let mut own = Histogram::new(BOUNDS);
        for micros in [1, 1_000, 1_001, 100_000, 100_001] {
            shared.note_ns(micros * 1_000);
            own.note(micros as f64 / 1e6);
        }
        let expected = [(0.001, 2), (0.01, 3), (0.1, 4), (f64::INFINITY, 5)];
        assert_eq!(own.cumulative().collect::<Vec<_>>(), expected);
        assert_eq!(shared.read().cumulative().collect::<Vec<_>>(), expected);
        assert_eq!(shared.read().count(), 5);
        assert!((shared.read().sum_seconds() - 0.202_003).abs() < 1e-9);
        assert!((own.sum_seconds() - 0.202_003).abs() < 1e-9);
    }
}
