//! Closes the inherited descriptors of a child process except the three standard ones, and resets ignored signals.
//!
//! Descriptors that the host opens are closed when it runs a program. A descriptor that the host itself inherited, such
//! as a file that the shell had open, may stay open: the plugin would inherit it and could write to it. A new program
//! inherits no signal handlers, but signals that are ignored stay ignored. If `SIGCHLD` were ignored, the plugin could
//! not get the exit status of its children. The child has no blocked signals: the standard library, which starts it,
//! unblocks them.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

use rustix::io::Errno;
use std::{fs, io, os::fd::RawFd};

/// The first descriptor after the standard ones.
const FIRST: RawFd = 3;

/// Closes all descriptors except the standard ones. Must be called before the program opens a descriptor.
pub(super) fn close_all() -> io::Result<()> {
    close_from(FIRST).or_else(|_| close_each_from(FIRST))
}

/// Closes all descriptors from `first` on in one system call, which kernels before 5.9 lack.
fn close_from(first: RawFd) -> io::Result<()> {
    // SAFETY: the arguments are numbers: the kernel reads and writes no memory. The program has just started: its code
    // owns no descriptors except the standard ones.
    match unsafe { libc::syscall(libc::SYS_close_range, first, RawFd::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Closes all descriptors from `first` on one by one.
fn close_each_from(first: RawFd) -> io::Result<()> {
    let number = |it: io::Result<fs::DirEntry>| it.ok()?.file_name().to_str()?.parse().ok();
    // The list includes the descriptor with which the folder was read. It is already closed, so closing it fails with
    // EBADF.
    let open: Vec<RawFd> = fs::read_dir("/proc/self/fd")?.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor >= first) {
        // SAFETY: as above.
        if unsafe { libc::close(descriptor) } != 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(Errno::BADF.raw_os_error()) {
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Resets each ignored signal to its default, except SIGPIPE, which Rust programs ignore. Must be called before the
/// program starts a second thread.
pub(super) fn reset_ignored_signals() -> io::Result<()> {
    // The C library reserves some signals. `sigaction` fails for them.
    const LAST: i32 = 64;
    for signal in (1..=LAST).filter(|signal| *signal != libc::SIGPIPE) {
        // SAFETY: an all-zero `sigaction` is a valid value of a C struct; the call gets a place to write to. The
        // default action is not a function.
        unsafe {
            let mut present: libc::sigaction = std::mem::zeroed();
            let known = libc::sigaction(signal, std::ptr::null(), &mut present) == 0;
            if known
                && present.sa_sigaction == libc::SIG_IGN
                && libc::signal(signal, libc::SIG_DFL) == libc::SIG_ERR
            {
                return Err(io::Error::last_os_error());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::fcntl_dupfd_cloexec;
    use std::{
        io::{Read, pipe},
        os::fd::IntoRawFd,
    };

    /// No other test uses descriptors from this number on.
    const HIGH: RawFd = 700;

    #[test]
    fn close_from_and_close_each_from_close_all_descriptors_from_a_number() {
        for close in [close_from, close_each_from] {
            let (mut end, line) = pipe().unwrap();
            for first in [HIGH, HIGH + 100] {
                // `close` closes the descriptor, so no other value may own it.
                let _ = fcntl_dupfd_cloexec(&line, first).unwrap().into_raw_fd();
            }
            drop(line);
            close(HIGH).unwrap();
            assert_eq!(end.read(&mut [0]).unwrap(), 0, "no process holds the other end");
        }
    }
}
