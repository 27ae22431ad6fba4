//! Counters and durations of a running host.
//!
//! [`CallTimes`] records the durations of calls. All calls by name are timed. For a call through a typed handle or a
//! resolved method, the previous call of the same thread decides. After a call in this process, one call in 1,024 is
//! timed, because reading a clock takes as long as such a call, or longer. After a call into a child process, each call
//! is timed.
//!
//! [`Tally`](crate::event::Tally) counts events when they are emitted.

mod ends;
mod histogram;

pub use ends::{CallEnd, Failure, Failures};
pub use histogram::Histogram;
pub(crate) use histogram::SharedHistogram;

use std::time::Instant;

/// The bounds of call durations, in seconds: from a computation that takes nanoseconds to a wait for a network.
const CALL_BOUNDS: &[f64] = &[
    1e-7, 2.5e-7, 5e-7, 1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2,
    2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The durations of a plugin's timed calls, separately for successful and failed calls.
#[derive(Debug)]
pub struct CallTimes {
    returned: SharedHistogram,
    failed: SharedHistogram,
}

impl CallTimes {
    /// Empty histograms.
    pub fn new() -> Self {
        Self { returned: SharedHistogram::new(CALL_BOUNDS), failed: SharedHistogram::new(CALL_BOUNDS) }
    }

    /// The durations of successful calls, and the durations of failed calls.
    pub fn read(&self) -> (Histogram, Histogram) {
        (self.returned.read(), self.failed.read())
    }
}

impl Default for CallTimes {
    fn default() -> Self {
        Self::new()
    }
}

/// Measures the duration of a call.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

/// The duration of a call.
#[derive(Clone, Copy, Debug)]
pub struct Took {
    ns: u64,
}

impl Stopwatch {
    /// Starts the measurement.
    #[inline]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since the start.
    #[inline]
    pub fn stop(self) -> Took {
        Took { ns: self.0.elapsed().as_nanos().try_into().unwrap_or(u64::MAX) }
    }
}

impl CallTimes {
    /// Records the duration of a call with this outcome.
    pub fn note(&self, took: Took, end: CallEnd) {
        match end {
            CallEnd::Ok => self.returned.note_ns(took.ns),
            CallEnd::Failed(_) => self.failed.note_ns(took.ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_call_is_recorded_among_the_failed_calls() {
        let times = CallTimes::new();
        let watch = Stopwatch::start();
        times.note(watch.stop(), CallEnd::Failed(Failure::Timeout));
        let (returned, failed) = times.read();
        assert_eq!((returned.count(), failed.count()), (0, 1));
    }
}
