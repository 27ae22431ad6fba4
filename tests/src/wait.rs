//! Waits for conditions that no event reports. Most are polled; a pidfd reports that a process has ended.

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

/// The pause between two polls: short enough for a test, and long enough to leave the processor to the code that makes
/// the condition true.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until a condition holds. The watchdog of the [lab](crate::lab) ends a test that waits forever.
pub fn poll_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds, but not longer than `patience`. Returns whether the condition holds.
pub fn poll_within(patience: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    loop {
        if holds() {
            return true;
        }
        if began.elapsed() >= patience {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

/// Pauses between two steps of a test that depends on the time between them. The pause waits for no condition.
pub fn pace(pause: Duration) {
    thread::sleep(pause);
}

/// A pidfd that reports when a process has ended. The process need not be a child of this one. A later process with the
/// same pid is not mistaken for it.
#[derive(Debug)]
pub struct ProcessEnd(OwnedFd);

impl ProcessEnd {
    /// A pidfd for the process that has this pid now; `None` if there is no such process.
    pub fn of(pid: Pid) -> Option<Self> {
        pidfd_open(pid, PidfdFlags::empty()).ok().map(Self)
    }

    /// Waits until the process has ended. It may not have been reaped by then.
    ///
    /// # Panics
    ///
    /// If it cannot be waited for.
    pub fn wait(&self) {
        while let Err(error) = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
            assert_eq!(error, Errno::INTR, "the end of a process");
        }
    }
}
