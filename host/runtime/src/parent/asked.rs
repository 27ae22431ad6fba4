//! Counts how often the program was asked to end, and decides when the parent kills a program that does not end.
//!
//! A signal is a request. The program may take its time to answer it, because it has calls to finish. But a plugin
//! in its process may have replaced the program's signal handlers, and then the program never sees a signal. So the
//! parent enforces a repeated request.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::time::{Duration, Instant};

/// Two signals within this time count as one: some supervisors signal both a process and its group.
const TWICE: Duration = Duration::from_millis(200);

/// How long a request counts. A program that still runs after this time has not taken the signal as a request to end.
const COUNTS: Duration = Duration::from_secs(30);

/// How long the program may take to end after a second request.
const GRACE: Duration = Duration::from_secs(5);

/// What SIGINT means to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// SIGINT may mean anything, such as to discard the line that is being typed. It counts only together with a
    /// SIGTERM.
    Anything,
    /// SIGINT asks the program to end, as SIGTERM does.
    End,
}

/// The requests so far.
#[derive(Debug)]
pub(super) struct Asked {
    interrupt: Interrupt,
    times: usize,
    /// Whether one of the signals can only have been a request to end.
    surely: bool,
    /// When the last counted signal came.
    counted: Option<Instant>,
    by: Option<i32>,
    end_at: Option<Instant>,
}

impl Asked {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, times: 0, surely: false, counted: None, by: None, end_at: None }
    }

    /// Notes a signal. Signals other than SIGINT and SIGTERM are no requests.
    pub(super) fn note(&mut self, signal: i32, now: Instant) {
        if ![SIGINT, SIGTERM].contains(&signal) {
            return;
        }
        self.by = Some(signal);
        let since = self.counted.map(|counted| now.saturating_duration_since(counted));
        if since.is_none_or(|since| since >= COUNTS) {
            *self = Self { by: self.by, ..Self::new(self.interrupt) };
        }
        self.surely |= signal == SIGTERM || self.interrupt == Interrupt::End;
        if since.is_some_and(|since| since < TWICE) {
            return;
        }
        self.counted = Some(now);
        self.times += 1;
        if self.times > 1 && self.surely {
            // After a further request, the program gets no more time.
            self.end_at = Some(self.end_at.map_or(now + GRACE, |_| now));
        }
    }

    /// When to kill the program, if at all.
    pub(super) fn end_at(&self) -> Option<Instant> {
        self.end_at
    }

    /// The signal of the last request.
    pub(super) fn by(&self) -> Option<i32> {
        self.by
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// When a program is killed that gets these signals, one second apart. In seconds from the first.
    fn ended(interrupt: Interrupt, signals: &[i32]) -> Option<u64> {
        let begin = Instant::now();
        let mut asked = Asked::new(interrupt);
        for (second, signal) in (0..).zip(signals) {
            asked.note(*signal, begin + second * SECOND);
        }
        asked.end_at().map(|at| (at - begin).as_secs())
    }

    #[test]
    fn a_program_that_was_asked_twice_has_five_seconds_and_then_no_more() {
        assert_eq!(ended(Interrupt::End, &[SIGINT]), None);
        assert_eq!(ended(Interrupt::End, &[SIGINT, SIGINT]), Some(6));
        assert_eq!(ended(Interrupt::End, &[SIGINT, SIGINT, SIGTERM]), Some(2));
        assert_eq!(ended(Interrupt::Anything, &[SIGTERM]), None, "it may take as long as it needs");
        assert_eq!(ended(Interrupt::Anything, &[SIGTERM, SIGTERM]), Some(6));
    }

    #[test]
    fn interrupts_with_a_custom_meaning_count_only_beside_sigterm() {
        assert_eq!(ended(Interrupt::Anything, &[SIGINT; 5]), None);
        assert_eq!(ended(Interrupt::Anything, &[SIGINT, SIGINT, SIGTERM]), Some(7));
        assert_eq!(ended(Interrupt::End, &[signal_hook::consts::SIGHUP; 3]), None);
    }

    #[test]
    fn two_signals_in_a_moment_are_one_and_one_of_long_ago_is_none() {
        let begin = Instant::now();
        let mut asked = Asked::new(Interrupt::End);
        asked.note(SIGTERM, begin);
        asked.note(SIGTERM, begin + TWICE / 2);
        assert_eq!(asked.end_at(), None);
        asked.note(SIGTERM, begin + COUNTS + SECOND);
        assert_eq!(asked.end_at(), None);
        asked.note(SIGINT, begin + COUNTS + 2 * SECOND);
        assert_eq!((asked.end_at().is_some(), asked.by()), (true, Some(SIGINT)));
    }
}
