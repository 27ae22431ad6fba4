//! Prevents that a killed build leaves an incomplete `Cargo.lock`.
//!
//! Cargo writes `Cargo.lock` in place. If cargo is killed during this write, the file remains incomplete, and no later
//! build can read it. The watcher reports the write itself as a change, so an unlucky kill is likely. Therefore a
//! build is cancelled only while it is suspended and none of its processes has the file open for writing. A process to which
//! SIGSTOP has been sent finishes at most the system call that it is in and one more. So if it does not have the file
//! open afterwards, it has either finished the write or not begun it.

use rustix::process::{Pid, Signal};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long the processes of a build may take to finish a write before they are killed anyway. A process that takes
/// longer is blocked, for example by a file system that does not answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 2 });

/// How long a process that writes the file runs until it is suspended again.
const SLICE: Duration = Duration::from_millis(1);

/// Suspends processes at a moment at which none of them writes a `Cargo.lock`. Waits for the end of a write. `send` sends
/// a signal to these processes, and `pids` returns their ids.
pub(crate) fn suspend_between_writes(send: impl Fn(Signal), pids: impl Fn() -> Vec<Pid>) {
    let deadline = Instant::now() + WRITE_TIMEOUT;
    while !suspends_now(&send, &pids) && Instant::now() < deadline {
        send(Signal::CONT);
        thread::sleep(SLICE);
    }
}

/// Suspends processes. Returns whether none of them writes a `Cargo.lock`.
pub(crate) fn suspends_now(send: impl Fn(Signal), pids: impl Fn() -> Vec<Pid>) -> bool {
    send(Signal::STOP);
    !pids().into_iter().any(is_writing)
}

/// Whether this process has a file of the name `Cargo.lock` open for writing.
fn is_writing(pid: Pid) -> bool {
    /// The bit in the mode of `/proc/PID/fd/N` that stands for a file that is open for writing.
    const WRITES: u32 = 0o200;
    let open = fs::read_dir(format!("/proc/{}/fd", pid.as_raw_pid())).into_iter().flatten().flatten();
    open.map(|it| it.path()).any(|link| {
        fs::read_link(&link).is_ok_and(|file| file.file_name() == Path::new("Cargo.lock").file_name())
            && fs::symlink_metadata(&link).is_ok_and(|it| it.mode() & WRITES != 0)
    })
}
