//! What is left of a standard error that the program reads itself when the process ends.
//!
//! A program that has put a pipe in the place of its descriptor 2, to know what plugins write to it, is the only reader of that
//! pipe. What the standard library and the C library write just before they end the process would be lost in it: that a stack has
//! overflowed, say, or why it was aborted.

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

/// The reading end of the pipe, and where what is written to it goes. Both stay open once they are here.
static PIPE: AtomicI32 = AtomicI32::new(NONE);
static ORIGINAL: AtomicI32 = AtomicI32::new(NONE);

/// Whether something was read from the pipe that has not yet gone where it goes.
static UNDERWAY: AtomicBool = AtomicBool::new(false);

/// For how many milliseconds the end of the process waits for that: on a busy machine, the reader may have to wait for a
/// processor.
const PATIENCE: u32 = 2000;

/// Reads a pipe that is in the place of descriptor 2 until its end, and writes all of it where that led before, then to
/// `each`. Should the process end by a signal of its own making or by `exit`, that has its descriptor 2 back, and what is still
/// in the pipe is written there, provided that a host in it keeps a crash record. To be called once in a process.
///
/// # Errors
///
/// If the pipe cannot be read.
pub fn pass_on(pipe: PipeReader, original: File, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    ioctl_fionbio(&pipe, true)?;
    // A signal may come at any time: neither is closed any more.
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
            // Whoever closed it does not want to know.
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

/// Gives the process its descriptor 2 back, and writes there what is left in the pipe. Only does what POSIX allows in a signal
/// handler: atomics, `dup2`, `nanosleep`, `read`, `write`.
pub(super) fn give_back() {
    let (pipe, original) = (PIPE.load(Ordering::Acquire), ORIGINAL.load(Ordering::Acquire));
    if pipe == NONE {
        return;
    }
    let moment = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    let mut buffer = [0_u8; 512];
    // SAFETY: both descriptors are open for good; the buffer is as long as is said, and `moment` a place to read from.
    unsafe {
        libc::dup2(original, libc::STDERR_FILENO);
        // What the reader has taken is written by it; it may be this very thread.
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
