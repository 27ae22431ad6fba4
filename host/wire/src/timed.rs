//! A connection with an absolute deadline. Data that arrives slowly does not extend the deadline.

use std::{
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

/// A connection whose reads and writes fail after a deadline, if one is set. The kernel has only timeouts, which start
/// again with each read or write.
#[derive(Debug)]
pub struct Timed {
    /// The connection. This is the only strong reference: when it is dropped, the connection is closed.
    stream: Arc<UnixStream>,
    until: Option<Instant>,
    /// Whether a timeout is set on the stream.
    bounded: bool,
}

/// A function that sets a timeout of a stream.
type Set = fn(&UnixStream, Option<Duration>) -> io::Result<()>;

impl From<UnixStream> for Timed {
    fn from(stream: UnixStream) -> Self {
        Self { stream: Arc::new(stream), until: None, bounded: false }
    }
}

impl Timed {
    /// Sets or removes the deadline.
    pub fn until(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    /// Checks that the deadline has not passed.
    ///
    /// # Errors
    ///
    /// * [`io::ErrorKind::TimedOut`] if it has
    pub fn check(&self) -> io::Result<()> {
        match self.until {
            Some(until) if until <= Instant::now() => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// A weak reference to the connection, for example to shut the connection down. The reference does not keep the
    /// connection open.
    pub fn connection(&self) -> Weak<UnixStream> {
        Arc::downgrade(&self.stream)
    }

    /// The connection, with the remaining time as its timeout for reads.
    fn reading(&mut self) -> io::Result<&UnixStream> {
        self.bound(UnixStream::set_read_timeout)
    }

    /// The connection, with the remaining time as its timeout for writes.
    pub(super) fn writing(&mut self) -> io::Result<&UnixStream> {
        self.bound(UnixStream::set_write_timeout)
    }

    fn bound(&mut self, set: Set) -> io::Result<&UnixStream> {
        match self.until {
            None if !self.bounded => {}
            None => {
                self.bounded = false;
                self.stream.set_read_timeout(None)?;
                self.stream.set_write_timeout(None)?;
            }
            Some(until) => {
                self.bounded = true;
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                set(&self.stream, Some(left))?;
            }
        }
        Ok(&self.stream)
    }
}

impl AsFd for Timed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reading()?.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writing()?.write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.writing()?.write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
