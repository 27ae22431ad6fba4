//! When an end of a lane that spins yields its processor.
//!
//! If calls follow each other without pause, both ends find each message while they spin, and never sleep. So a thread
//! that becomes runnable on one of their processors waits until the kernel ends a time slice, which takes milliseconds.
//! The start of a new version in a child process consists of dozens of such waits. So an end that spins yields its
//! processor after each *turn*. A yield takes less than a microsecond if no other thread waits. In that case, the next
//! turn is twice as long as the last one. Otherwise, the next turn is as long as the other threads have run. So threads
//! that run only for a moment also wait only for a moment. The length of a turn has a maximum, so that no thread waits
//! long, and a minimum, so that an end keeps a share of a processor that others need without pause.

use std::time::Duration;

/// The bounds of a turn, in rounds. A round takes about a microsecond: a wait that finds its message immediately is one
/// round, and a longer spin is several.
const LEAST: u32 = 256;
const MOST: u32 = 1024;
/// A yield that takes longer has let another thread run.
const ALONE: Duration = Duration::from_micros(4);

/// The current turn of an end.
#[derive(Debug)]
pub(super) struct SpinTurn {
    /// The rounds since the last yield or sleep.
    rounds: u32,
    /// The number of rounds after which this end yields.
    length: u32,
}

impl SpinTurn {
    pub(super) fn new() -> Self {
        Self { rounds: 0, length: LEAST }
    }

    /// The end has to yield its processor before its next spin.
    #[cfg(test)]
    pub(super) fn over() -> Self {
        Self { rounds: LEAST, ..Self::new() }
    }

    /// Notes a round.
    pub(super) fn round(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
    }

    /// Whether this end has to yield its processor before it spins again.
    pub(super) fn is_over(&self) -> bool {
        self.rounds >= self.length
    }

    /// Notes a yield, and after what time this end ran again.
    pub(super) fn has_yielded(&mut self, took: Duration) {
        let others = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let length = if took < ALONE { self.length * 2 } else { others };
        (self.rounds, self.length) = (0, length.clamp(LEAST, MOST));
    }

    /// Notes a sleep, which has left the processor to other threads.
    pub(super) fn has_slept(&mut self) {
        self.rounds = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: Duration = Duration::from_nanos(500);

    /// Spins until the end has to yield. Returns the number of rounds.
    fn rounds_before_a_yield(turn: &mut SpinTurn) -> u32 {
        let mut rounds = 0;
        while !turn.is_over() {
            turn.round();
            rounds += 1;
        }
        rounds
    }

    #[test]
    fn yields_become_rare_while_no_other_thread_waits() {
        let mut turn = SpinTurn::new();
        let mut lengths = Vec::new();
        for _ in 0..4 {
            lengths.push(rounds_before_a_yield(&mut turn));
            turn.has_yielded(NOBODY);
        }
        assert_eq!(lengths, [256, 512, 1024, 1024]);
    }

    #[test]
    fn the_next_turn_is_as_long_as_others_have_run_within_bounds() {
        let mut turn = SpinTurn::new();
        for (micros, rounds) in [(600, 600), (5, LEAST), (4000, MOST), (u64::MAX, MOST)] {
            turn.has_yielded(Duration::from_micros(micros));
            assert_eq!(rounds_before_a_yield(&mut turn), rounds, "after {micros} microseconds");
        }
    }

    #[test]
    fn an_end_that_sleeps_in_time_never_yields() {
        let mut turn = SpinTurn::new();
        for _ in 0..100 {
            (1..LEAST).for_each(|_| turn.round());
            assert!(!turn.is_over());
            turn.has_slept();
        }
        assert_eq!(rounds_before_a_yield(&mut turn), LEAST);
    }
}
