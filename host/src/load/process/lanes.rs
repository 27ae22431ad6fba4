//! The lanes to one child: as many as there are calls at once. The calling thread owns its lane for the call, writes one
//! frame and reads one, so that a call is one round trip and no other thread has to be woken for it.
//!
//! A caller whose deadline passes leaves at once. Its lane stays behind with a thread that cancels the call and waits for
//! the late answer, after which the lane is as good as any; if none comes in time, the process is ended.

use super::{child::Child, deadline::Deadline};
use crate::wire::{self, LaneId, WireError};
use parking_lot::Mutex;
use std::{
    io::{self, IoSlice, Read, Write},
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A connection to a child for calls.
pub(super) type Lane = wire::Lane<Timed>;

/// Lanes that no call is on.
#[derive(Default)]
pub(super) struct Lanes {
    idle: Mutex<Vec<Lane>>,
}

/// A call whose caller has left.
pub(super) struct Late {
    pub(super) method: String,
    pub(super) deadline: Deadline,
    /// How long its answer is waited for after it was cancelled.
    pub(super) grace: Duration,
}

impl Child {
    /// A lane that no call is on.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if the process is gone, or is as good as gone.
    pub(super) fn lane(&self) -> Result<Lane, WireError> {
        if let Some(lane) = self.lanes.idle.lock().pop() {
            return Ok(lane);
        }
        let (id, stream) = self.service(|service| service.open_lane())?;
        let stream = Arc::new(stream);
        self.life.end_with_process(&stream)?;
        Ok(Lane::new(Timed { id, stream, until: None, bounded: false }))
    }

    /// Takes back a lane whose call has ended.
    pub(super) fn give_back(&self, lane: Lane) {
        self.lanes.idle.lock().push(lane);
    }

    /// Sees to a lane with a call that is no longer waited for, in the background.
    pub(super) fn give_up(self: &Arc<Self>, lane: Lane, late: Late) {
        // A call that was not sent as a whole has not begun, and will not: its lane ends here.
        let Some(call) = lane.awaited() else { return };
        let child = self.clone();
        let wait = move || match child.late_answer(lane, call, late.grace) {
            Ok(lane) => child.give_back(lane),
            Err(WireError::TimedOut) => child.kill_because(&late.overrun()),
            Err(_) => drop(child.death()),
        };
        if thread::Builder::new().name("replug-cancel".into()).spawn(wait).is_err() {
            self.kill_because("replug: no thread can be started to wait for a call that was cancelled");
        }
    }

    fn late_answer(&self, mut lane: Lane, call: wire::RequestId, grace: Duration) -> Result<Lane, WireError> {
        let id = lane.stream().id;
        self.service(|service| service.cancel(id, call))?;
        lane.stream_mut().until(Some(Deadline::after(grace).until));
        lane.late_answer()?;
        Ok(lane)
    }
}

impl Late {
    fn overrun(&self) -> String {
        format!(
            "replug: killed, because `{}` was cancelled after {} and did not end within another {}",
            self.method,
            humantime::format_duration(self.deadline.after),
            humantime::format_duration(self.grace)
        )
    }
}

/// A connection whose reads and writes are given up at a deadline, however little at a time comes or goes.
#[derive(Debug)]
pub(super) struct Timed {
    id: LaneId,
    /// No one else keeps it: when the lane is given up, the connection is closed, and so is its other end.
    stream: Arc<UnixStream>,
    until: Option<Instant>,
    /// Whether the stream has a deadline from a call before.
    bounded: bool,
}

impl Timed {
    /// From now on it is given up then; or never.
    pub(super) fn until(&mut self, until: Option<Instant>) {
        self.until = until;
    }

    fn bound(&mut self, set: Set) -> io::Result<()> {
        match self.until {
            None if !self.bounded => Ok(()),
            None => {
                self.bounded = false;
                self.stream.set_read_timeout(None)?;
                self.stream.set_write_timeout(None)
            }
            Some(until) => {
                self.bounded = true;
                let left = until.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                set(&self.stream, Some(left))
            }
        }
    }
}

/// Sets a deadline of a stream.
type Set = fn(&UnixStream, Option<Duration>) -> io::Result<()>;

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bound(UnixStream::set_read_timeout)?;
        (&*self.stream).read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bound(UnixStream::set_write_timeout)?;
        (&*self.stream).write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.bound(UnixStream::set_write_timeout)?;
        (&*self.stream).write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
