//! The pause before a restart. It grows with the number of the plugin's recent failures, which also determines whether
//! the plugin is restarted at all.

use crate::id::Digest;
use std::{
    collections::VecDeque,
    fmt,
    time::{Duration, Instant},
};

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How a process of the plugin can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The process has exited unexpectedly.
    Ended,
    /// The restarted process did not begin to serve.
    FailedToStart,
}

/// The recent failures, each with its artifact.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failures(VecDeque<(Digest, Failure, Instant)>);

impl Failures {
    /// Adds a failure that happened now, removes the failures that are older than the window, and returns how many
    /// failures remain.
    pub(crate) fn add(&mut self, of: (Digest, Failure), now: Instant, window: Duration) -> usize {
        self.0.push_back((of.0, of.1, now));
        self.0.retain(|(.., at)| now.duration_since(*at) < window);
        self.0.len()
    }

    /// The number of failures of this kind.
    pub(crate) fn count(&self, what: Failure) -> usize {
        self.0.iter().filter(|(_, it, _)| *it == what).count()
    }

    /// Removes the failures of other artifacts.
    pub(crate) fn keep_those_of(&mut self, digest: Digest) {
        self.0.retain(|(of, ..)| *of == digest);
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = [(Failure::Ended, "ended"), (Failure::FailedToStart, "failed to start")];
        let counts =
            what.map(|(what, verb)| (self.count(what), verb)).into_iter().filter(|(count, _)| *count > 0);
        let counts = counts.map(|(count, verb)| match count {
            1 => format!("{verb} once"),
            _ => format!("{verb} {count} times"),
        });
        f.write_str(&counts.collect::<Vec<_>>().join(" and "))
    }
}

/// Pseudo-random numbers from a seed. They make the pauses of several plugins differ.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) fn new(seed: u64) -> Self {
        // The generator would return only zeros from a seed of zero.
        Self(seed | 1)
    }

    /// A number below 100.
    fn percent(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % 100) as u32
    }
}

/// The pause before a restart, after this many failures. It is `first` after one failure, doubles with each further
/// failure, and is limited to a minute, or to `first` if that is longer. Up to a tenth is added, so that several
/// plugins do not start at the same time.
pub(crate) fn pause(first: Duration, failures: usize, jitter: &mut Jitter) -> Duration {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = first.saturating_mul(1 << doublings).min(LONGEST_PAUSE.max(first));
    pause + pause.mul_f64(f64::from(jitter.percent()) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Digest = Digest([1; 32]);
    const GOOD: Digest = Digest([2; 32]);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_a_minute_and_vary_by_a_tenth() {
        let mut jitter = Jitter::new(7);
        for (failures, millis) in [(1, 200), (2, 400), (3, 800), (9, 51_200), (10, 60_000), (1000, 60_000)] {
            let pause = pause(Duration::from_millis(200), failures, &mut jitter).as_millis();
            assert!((millis..=millis * 11 / 10).contains(&pause), "{failures}: {pause}");
        }
    }

    #[test]
    fn a_first_pause_of_more_than_a_minute_is_not_shortened() {
        let (mut jitter, first) = (Jitter::new(7), 5 * MINUTE);
        for failures in [1, 2, 1000] {
            let pause = pause(first, failures, &mut jitter);
            assert!((first..=first * 11 / 10).contains(&pause), "{failures}: {pause:?}");
        }
    }

    #[test]
    fn a_failure_after_the_window_counts_as_the_first() {
        let (mut failures, begin) = (Failures::default(), Instant::now());
        for number in 1..5 {
            assert_eq!(failures.add((BAD, Failure::Ended), begin, 10 * MINUTE), number);
        }
        assert_eq!(failures.add((BAD, Failure::Ended), begin + 10 * MINUTE, 10 * MINUTE), 1);
    }

    #[test]
    fn only_failures_within_the_window_count_regardless_of_kind() {
        let (mut failures, begin) = (Failures::default(), Instant::now());
        let mut at = |minute, what| failures.add((BAD, what), begin + minute * MINUTE, 3 * MINUTE);
        assert_eq!(at(0, Failure::Ended), 1);
        assert_eq!(at(1, Failure::FailedToStart), 2);
        assert_eq!(at(2, Failure::FailedToStart), 3);
        assert_eq!(
            at(3, Failure::FailedToStart),
            3,
            "the first failure is three minutes old and no longer counts"
        );
        assert_eq!(at(9, Failure::FailedToStart), 1);
    }

    #[test]
    fn failures_of_other_artifacts_are_removed() {
        let mut failures = Failures::default();
        failures.add((BAD, Failure::Ended), Instant::now(), MINUTE);
        failures.keep_those_of(BAD);
        assert_eq!(failures.count(Failure::Ended), 1);
        failures.keep_those_of(GOOD);
        assert_eq!(failures.count(Failure::Ended), 0);
    }

    #[test]
    fn the_text_of_failures_lists_ended_processes_and_failed_starts() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        failures.add((BAD, Failure::Ended), now, MINUTE);
        assert_eq!(failures.to_string(), "ended once");
        failures.add((BAD, Failure::FailedToStart), now, MINUTE);
        failures.add((BAD, Failure::FailedToStart), now, MINUTE);
        assert_eq!(failures.to_string(), "ended once and failed to start 2 times");
    }
}
