//! Saves the last output on the standard error of a process that reads its own standard error.
//!
//! A program may replace its descriptor 2 with a pipe, to read what plugins write to it. Then the program is the only
//! reader of that pipe. When the standard library or the C library aborts the process, the reason that it prints
//! before the abort would be lost in the pipe.

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionbio},
};
use std::{
    fs::File,
    io::{self, PipeReader, Read, Write},
    os::fd::{AsRawFd, RawFd},
    sync::atomic::{AtomicBool, AtomicI32, Ordering},
};

const NONE: RawFd = -1;

/// The reading end of the pipe, and the original descriptor 2, to which the content of the pipe is copied. Both stay
/// open once they are set.
static PIPE: AtomicI32 = AtomicI32::new(NONE);
static ORIGINAL: AtomicI32 = AtomicI32::new(NONE);

/// Whether the reader has read data from the pipe that it has not yet written to the original descriptor.
static UNDERWAY: AtomicBool = AtomicBool::new(false);

/// How many milliseconds the terminating process waits until the reader has written the data that the reader has
/// already read. On a busy machine, the reader may have to wait for a CPU.
const PATIENCE: u32 = 2000;

/// Reads the pipe that replaces descriptor 2, until its end. Writes everything to the original target of descriptor 2,
/// then passes it to `each`. If a host in the process keeps a crash record, and the process terminates by a signal that
/// it raised or by `exit`, the original descriptor 2 is restored, and the rest of the pipe is written to it. Call this
/// function once in a process.
///
/// # Errors
///
/// An error of the operating system if the pipe cannot be read.
pub fn pass_on(pipe: PipeReader, original: File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    ioctl_fionbio(&pipe, true)?;
    // A signal may come at any time, and its handler uses both descriptors, so they are never closed.
    let (pipe, original): (&PipeReader, &File) = (Box::leak(Box::new(pipe)), Box::leak(Box::new(original)));
    ORIGINAL.store(original.as_raw_fd(), Ordering::Release);
    PIPE.store(pipe.as_raw_fd(), Ordering::Release);
    let mut buffer = [0; 4096];
    loop {
        match poll(&mut [PollFd::new(pipe, PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        UNDERWAY.store(true, Ordering::SeqCst);
        let read = (&*pipe).read(&mut buffer);
        if let Ok(length) = read {
            // An error means that no process reads the original descriptor now.
            let _ = (&*original).write_all(&buffer[..length]);
        }
        UNDERWAY.store(false, Ordering::SeqCst);
        match read {
            Ok(0) => return Ok(()),
            Ok(length) => each(&buffer[..length]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Restores the original descriptor 2, and writes the rest of the pipe to it. Uses only what is safe in a signal
/// handler: atomics, `dup2`, `nanosleep`, `read`, `write`.
pub(super) fn give_back() {
    let (pipe, original) = (PIPE.load(Ordering::Acquire), ORIGINAL.load(Ordering::Acquire));
    if pipe == NONE {
        return;
    }
    let moment = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let mut buffer = [0_u8; 512];
    // SAFETY: neither descriptor is ever closed; the buffer has the given length, and `moment` is a place to read from.
    unsafe {
        libc::dup2(original, libc::STDERR_FILENO);
        // Waits until the reader has written the data that it has already read. The wait is limited, because the reader
        // may be this thread.
        for _ in 0..PATIENCE {
            if !UNDERWAY.load(Ordering::SeqCst) {
                break;
            }
            libc::nanosleep(&moment, std::ptr::null_mut());
        }
        loop {
            let length = libc::read(pipe, buffer.as_mut_ptr().cast(), buffer.len());
            let Some(length) = usize::try_from(length).ok().filter(|length| *length > 0) else { return };
            libc::write(original, buffer.as_ptr().cast(), length);
        }
    }
}
