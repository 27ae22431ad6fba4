//! How often a plugin's process has ended of late, or failed to start again: what pauses and quarantine go by.

use crate::id::Digest;
use std::{
    collections::VecDeque,
    fmt,
    hash::{BuildHasher, RandomState},
    time::Duration,
};
use tokio::time::Instant;

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What can go wrong with a process that is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setback {
    /// It has ended unasked.
    Ended,
    /// It was to be started again, and did not come up.
    FailedToStart,
}

/// What went wrong of late, and with which artifact.
#[derive(Debug, Default)]
pub(super) struct Setbacks(VecDeque<(Digest, Setback, Instant)>);

impl Setbacks {
    /// Adds one that happened now, forgets those that are as old as the window, and says how many are left.
    pub(super) fn add(&mut self, of: (Digest, Setback), now: Instant, window: Duration) -> usize {
        self.0.push_back((of.0, of.1, now));
        self.0.retain(|(.., at)| now.duration_since(*at) < window);
        self.0.len()
    }

    /// How many of them are of that kind.
    pub(super) fn count(&self, what: Setback) -> usize {
        self.0.iter().filter(|(_, it, _)| *it == what).count()
    }

    /// Forgets those of other artifacts.
    pub(super) fn keep_those_of(&mut self, digest: Digest) {
        self.0.retain(|(of, ..)| *of == digest);
    }
}

impl fmt::Display for Setbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = [(Setback::Ended, "ended"), (Setback::FailedToStart, "failed to start")];
        let said =
            what.map(|(what, verb)| (self.count(what), verb)).into_iter().filter(|(count, _)| *count > 0);
        let said = said.map(|(count, verb)| match count {
            1 => format!("{verb} once"),
            _ => format!("{verb} {count} times"),
        });
        f.write_str(&said.collect::<Vec<_>>().join(" and "))
    }
}

/// How long to wait after so many setbacks: `first` after the first and twice as long each time, with a little chance in
/// it, so that several plugins do not start as one.
pub(super) fn pause(first: Duration, setbacks: usize) -> Duration {
    let doublings = u32::try_from(setbacks.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let pause = first.saturating_mul(1 << doublings).min(LONGEST_PAUSE.max(first));
    let chance = RandomState::new().hash_one(setbacks) % 100;
    pause + pause.mul_f64(chance as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Digest = Digest([1; 32]);
    const GOOD: Digest = Digest([2; 32]);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_a_minute_and_vary_by_a_tenth() {
        for (setbacks, millis) in [(1, 200), (2, 400), (3, 800), (9, 51_200), (10, 60_000), (1000, 60_000)] {
            let pause = pause(Duration::from_millis(200), setbacks).as_millis();
            assert!((millis..=millis * 11 / 10).contains(&pause), "{setbacks}: {pause}");
        }
    }

    #[test]
    fn after_ten_minutes_without_one_a_setback_is_the_first_again() {
        let (mut setbacks, begin) = (Setbacks::default(), Instant::now());
        for number in 1..5 {
            assert_eq!(setbacks.add((BAD, Setback::Ended), begin, 10 * MINUTE), number);
        }
        assert_eq!(setbacks.add((BAD, Setback::Ended), begin + 10 * MINUTE, 10 * MINUTE), 1);
    }

    #[test]
    fn only_what_lies_within_the_window_counts_whatever_went_wrong() {
        let (mut setbacks, begin) = (Setbacks::default(), Instant::now());
        let mut at = |minute, what| setbacks.add((BAD, what), begin + minute * MINUTE, 3 * MINUTE);
        assert_eq!(at(0, Setback::Ended), 1);
        assert_eq!(at(1, Setback::FailedToStart), 2);
        assert_eq!(at(2, Setback::FailedToStart), 3);
        assert_eq!(at(3, Setback::FailedToStart), 3, "the first is three minutes old");
        assert_eq!(at(9, Setback::FailedToStart), 1);
    }

    #[test]
    fn another_artifact_starts_with_a_clean_record() {
        let mut setbacks = Setbacks::default();
        setbacks.add((BAD, Setback::Ended), Instant::now(), MINUTE);
        setbacks.keep_those_of(BAD);
        assert_eq!(setbacks.count(Setback::Ended), 1);
        setbacks.keep_those_of(GOOD);
        assert_eq!(setbacks.count(Setback::Ended), 0);
    }

    #[test]
    fn a_process_that_ended_is_told_from_one_that_failed_to_start() {
        let (mut setbacks, now) = (Setbacks::default(), Instant::now());
        setbacks.add((BAD, Setback::Ended), now, MINUTE);
        assert_eq!(setbacks.to_string(), "ended once");
        setbacks.add((BAD, Setback::FailedToStart), now, MINUTE);
        setbacks.add((BAD, Setback::FailedToStart), now, MINUTE);
        assert_eq!(setbacks.to_string(), "ended once and failed to start 2 times");
    }
}
