//! Counts the requests to exit that the program gets, and decides when the parent kills a program that does not exit.
//!
//! A signal is only a request: the program may need time to finish its calls. But a plugin in the program's process may
//! have replaced the program's signal handlers, so that the program never gets the request. So the parent enforces a
//! repeated request.

use signal_hook::consts::{SIGINT, SIGTERM};
use std::time::{Duration, Instant};

/// Two signals within this time count as one: some supervisors signal both a process and its group.
const TWICE: Duration = Duration::from_millis(200);

/// How long a request counts. If the program still runs after this time, the signal was not a request to exit.
const COUNTS: Duration = Duration::from_secs(30);

/// How long the program may take to exit after a second request.
const GRACE: Duration = Duration::from_secs(5);

/// The meaning of SIGINT for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupt {
    /// SIGINT may have any meaning, such as to discard the line that is being typed. It counts as a request to exit
    /// only together with a SIGTERM.
    Anything,
    /// SIGINT is a request to exit, like SIGTERM.
    End,
}

/// The requests to exit so far.
#[derive(Debug)]
pub(super) struct Asked {
    interrupt: Interrupt,
    times: usize,
    /// Whether at least one of the signals is certainly a request to exit.
    surely: bool,
    /// When the last counted signal came.
    counted: Option<Instant>,
    /// The signal of the last request.
    by: Option<i32>,
    /// When to kill the program.
    end_at: Option<Instant>,
}

impl Asked {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self { interrupt, times: 0, surely: false, counted: None, by: None, end_at: None }
    }

    /// Records a signal. Signals other than SIGINT and SIGTERM are not requests to exit, and are ignored.
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

    /// The time at which the parent kills a program that gets these signals, one second apart. In seconds after the
    /// first signal; `None` if the parent does not kill the program.
    fn ended(interrupt: Interrupt, signals: &[i32]) -> Option<u64> {
        let begin = Instant::now();
        let mut asked = Asked::new(interrupt);
        for (second, signal) in (0..).zip(signals) {
            asked.note(*signal, begin + second * SECOND);
        }
        asked.end_at().map(|at| (at - begin).as_secs())
    }

    #[test]
    fn a_program_is_killed_5_s_after_a_second_request_or_at_the_third() {
        assert_eq!(ended(Interrupt::End, &[SIGINT]), None);
        assert_eq!(ended(Interrupt::End, &[SIGINT, SIGINT]), Some(6));
        assert_eq!(ended(Interrupt::End, &[SIGINT, SIGINT, SIGTERM]), Some(2));
        assert_eq!(
            ended(Interrupt::Anything, &[SIGTERM]),
            None,
            "after one request, the program may take as long as it needs"
        );
        assert_eq!(ended(Interrupt::Anything, &[SIGTERM, SIGTERM]), Some(6));
    }

    #[test]
    fn sigint_with_a_custom_meaning_counts_only_together_with_sigterm() {
        assert_eq!(ended(Interrupt::Anything, &[SIGINT; 5]), None);
        assert_eq!(ended(Interrupt::Anything, &[SIGINT, SIGINT, SIGTERM]), Some(7));
        assert_eq!(ended(Interrupt::End, &[signal_hook::consts::SIGHUP; 3]), None);
    }

    #[test]
    fn signals_close_together_count_once_and_an_old_one_does_not_count() {
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
