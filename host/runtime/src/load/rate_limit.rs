//! Rate limits for the reports of a plugin. Without them, the events of one plugin could displace those of all others.

use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// How many items are reported in a [`WINDOW`]: log events of a plugin, or lines of one of its streams. Further
/// items are left out, and only counted.
const LIMIT: u32 = 100;
const WINDOW: Duration = Duration::from_secs(1);

/// The rate limit of one kind of report.
#[derive(Debug)]
pub(super) struct RateLimit {
    window: Mutex<Window>,
}

/// The current window, and the number of items in it.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    reported: u32,
    left_out: u64,
}

/// What the caller must do with the next item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Report it.
    Emit,
    /// Report the number of items that were left out before it, and then the item itself.
    EmitAfter(u64),
    /// Leave it out. For the first item that is left out of a window, contains the end of the window: the caller must
    /// pass this time to [`RateLimit::settle_after`].
    LeaveOut(Option<Instant>),
}

impl RateLimit {
    pub(super) fn new() -> Self {
        Self { window: Mutex::new(Window::begin()) }
    }

    /// Counts one more item.
    pub(super) fn take(&self) -> Decision {
        let mut window = self.window.lock();
        let left_out = match window.began.elapsed() < WINDOW {
            true => 0,
            false => std::mem::replace(&mut *window, Window::begin()).left_out,
        };
        if window.reported < LIMIT {
            window.reported += 1;
            return if left_out == 0 { Decision::Emit } else { Decision::EmitAfter(left_out) };
        }
        window.left_out += 1;
        Decision::LeaveOut((window.left_out == 1).then_some(window.began + WINDOW))
    }

    /// Starts a new window, and returns how many items were left out of the previous one.
    pub(super) fn settle(&self) -> u64 {
        std::mem::replace(&mut *self.window.lock(), Window::begin()).left_out
    }

    /// Like [`RateLimit::settle`], but waits until `end` first. Returns 0 if another window has begun by then.
    pub(super) fn settle_after(&self, end: Instant) -> u64 {
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        let mut window = self.window.lock();
        if window.began + WINDOW != end {
            return 0;
        }
        std::mem::replace(&mut *window, Window::begin()).left_out
    }
}

impl Window {
    fn begin() -> Self {
        Self { began: Instant::now(), reported: 0, left_out: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_limit_are_counted_and_reported_once() {
        let limit = RateLimit::new();
        // The window begins in the future, so that it does not end during the test, however slow the test is.
        limit.window.lock().began = Instant::now() + Duration::from_secs(3600);
        let decisions: Vec<_> = (0..LIMIT + 3).map(|_| limit.take()).collect();
        assert!(decisions[..LIMIT as usize].iter().all(|decision| *decision == Decision::Emit));
        let end = limit.window.lock().began + WINDOW;
        assert_eq!(decisions[LIMIT as usize..], [Some(end), None, None].map(Decision::LeaveOut));
        assert_eq!(limit.settle(), 3);
        assert_eq!((limit.settle(), limit.settle_after(Instant::now())), (0, 0));
    }

    #[test]
    fn left_out_lines_are_reported_once_by_the_timer_or_the_next_line() {
        let past = Instant::now().checked_sub(WINDOW).expect("the system has been up for a second");
        let flooded = || {
            let limit = RateLimit::new();
            *limit.window.lock() = Window { began: past, reported: LIMIT, left_out: 7 };
            limit
        };
        let limit = flooded();
        assert_eq!(limit.settle_after(past + WINDOW), 7);
        assert_eq!(limit.take(), Decision::Emit);
        let limit = flooded();
        assert_eq!(limit.take(), Decision::EmitAfter(7));
        assert_eq!(limit.settle_after(past + WINDOW), 0, "another window has begun");
    }
}
