//! Waits for what sends no event: a condition is polled, and the end of a process is read from its descriptor.

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    thread,
    time::{Duration, Instant},
};

/// The pause between two polls: short enough for a test, and long enough to leave the processor to what it waits for.
const PAUSE: Duration = Duration::from_millis(2);

/// Waits until a condition holds. The watchdog of the [lab](crate::lab) ends a test that waits for ever.
pub fn poll_until(mut holds: impl FnMut() -> bool) {
    while !holds() {
        thread::sleep(PAUSE);
    }
}

/// Waits until a condition holds, or the time is over; whether it holds.
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

/// Waits for the end of a process, whether or not it is a child of this one. It need not have been reaped.
///
/// # Panics
///
/// If the kernel gives no descriptor of it.
pub fn process_end(pid: Pid) {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return,
        opened => opened.expect("a descriptor of the process"),
    };
    while poll(&mut [PollFd::new(&process, PollFlags::IN)], None) == Err(Errno::INTR) {}
}
