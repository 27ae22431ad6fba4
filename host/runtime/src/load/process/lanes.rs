//! The lanes to one child: connections for calls, one for each concurrent call. The calling thread owns its lane during
//! the call, writes one frame and reads one frame. So a call is one round trip, and no other thread of the host has to
//! wake up for it.
//!
//! A caller whose deadline passes returns immediately. A background thread takes over the lane, cancels the call and
//! waits for the late answer. After that, the lane can be used again. If no answer comes in time, the process is
//! killed.

use super::child::Child;
use crate::{
    deadline::Deadline,
    lane::{HostMemory, LANE_BYTES, Line},
};
use parking_lot::Mutex;
use replug_model::limits;
use replug_wire::{self as wire, LaneId, Timed, WireError};
use std::{
    io,
    os::unix::net::UnixStream,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    thread,
    time::Duration,
};

/// A lane, with its number.
pub(super) struct Lane {
    id: LaneId,
    pub(super) wire: wire::Lane<Line<Timed>>,
}

/// A new connection to a child.
type NewConnection = (LaneId, UnixStream);

/// The idle lanes.
pub(super) struct Lanes {
    idle: Mutex<Vec<Lane>>,
    /// The kind of lane that the manifest requests.
    wanted: limits::LaneKind,
    /// The kind of lane of the call that ended last: one of the constants below.
    in_use: AtomicU8,
}

const NO_CALL_YET: u8 = 0;
const MEMORY: u8 = 1;
const SOCKET: u8 = 2;

impl Lanes {
    /// An empty set of idle lanes.
    pub(super) fn by(wanted: limits::LaneKind) -> Self {
        Self { idle: Mutex::default(), wanted, in_use: AtomicU8::new(NO_CALL_YET) }
    }

    /// The kind of lane of the call that ended last, and why it was used; `None` if no call has ended yet.
    pub(super) fn in_use(&self) -> Option<limits::LaneInUse> {
        let kind = match self.in_use.load(Ordering::Relaxed) {
            NO_CALL_YET => return None,
            MEMORY => limits::LaneKind::SharedMemory,
            _ => limits::LaneKind::Socket,
        };
        let is_requested = kind == self.wanted;
        let reason = if is_requested { limits::LaneReason::Requested } else { limits::LaneReason::NoMemory };
        Some(limits::LaneInUse { kind, reason })
    }

    fn put_back(&self, mut lane: Lane) {
        let used = if lane.wire.carrier().uses_memory() { MEMORY } else { SOCKET };
        // Callers share this value. Storing it only if it changes keeps its cache line shared.
        if self.in_use.load(Ordering::Relaxed) != used {
            self.in_use.store(used, Ordering::Relaxed);
        }
        // An idle lane may stay unused for a long time, so it must not keep large buffers.
        lane.wire.shrink();
        self.idle.lock().push(lane);
    }
}

/// Why no lane is available.
pub(super) enum NoLane {
    /// The process has terminated, or is about to.
    Gone,
    /// The host lacks a resource for a new connection, such as a file descriptor. The child is not affected.
    Lacking(io::Error),
}

impl From<WireError> for NoLane {
    fn from(error: WireError) -> Self {
        let is_lack = |error: &io::Error| {
            let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::ETOOMANYREFS];
            error.raw_os_error().is_some_and(|number| lacks.contains(&number))
        };
        match error {
            WireError::Io(error) if is_lack(&error) => Self::Lacking(error),
            _ => Self::Gone,
        }
    }
}

/// A call whose caller no longer waits.
pub(super) struct Late {
    pub(super) method: String,
    pub(super) deadline: Deadline,
    /// How long to wait for the answer after the call was cancelled.
    pub(super) grace: Duration,
}

impl Child {
    /// Takes an idle lane, or opens one.
    ///
    /// # Errors
    ///
    /// * [`NoLane`]
    pub(super) fn lane(&self) -> Result<Lane, NoLane> {
        if let Some(lane) = self.lanes.idle.lock().pop() {
            return Ok(lane);
        }
        let (memory, (id, stream)) = match self.memory_lane()? {
            Some((memory, opened)) => (Some(memory), opened),
            None => (None, self.service(|service| service.open_lane())?),
        };
        let stream = Timed::from(stream);
        self.life.end_with_process(stream.connection()).map_err(|_| NoLane::Gone)?;
        Ok(Lane { id, wire: wire::Lane::over(Line::of_host(stream, memory)) })
    }

    /// Opens a lane with memory. Returns `None` if the manifest requests a socket, or the host cannot create
    /// the memory.
    fn memory_lane(&self) -> Result<Option<(HostMemory, NewConnection)>, NoLane> {
        if self.lanes.wanted == limits::LaneKind::Socket {
            return Ok(None);
        }
        let Ok((memory, files)) = HostMemory::make() else { return Ok(None) };
        match self.service(|service| service.open_memory_lane(files, LANE_BYTES as u32)).map_err(NoLane::from)
        {
            Ok(opened) => Ok(Some((memory, opened))),
            // A lane without memory needs fewer descriptors.
            Err(NoLane::Lacking(_)) => Ok(None),
            Err(gone @ NoLane::Gone) => Err(gone),
        }
    }

    /// Returns a lane to the idle ones after its call has returned.
    pub(super) fn give_back(&self, lane: Lane) {
        self.lanes.put_back(lane);
    }

    /// Handles, in the background, a lane whose caller no longer waits.
    pub(super) fn give_up(self: &Arc<Self>, lane: Lane, late: Late) {
        // A call that was not sent completely has not begun. It will never begin, because this return drops the lane
        // and so closes the connection.
        let Some(call) = lane.wire.awaited() else { return };
        let child = self.clone();
        let wait = move || match child.late_answer(lane, call, late.grace) {
            Ok(lane) => child.give_back(lane),
            Err(WireError::TimedOut) => child.kill_because(&late.overrun()),
            Err(_) => drop(child.death()),
        };
        if thread::Builder::new().name("replug-cancel".into()).spawn(wait).is_err() {
            self.kill_because("replug: cannot start a thread that waits for a cancelled call");
        }
    }

    fn late_answer(&self, mut lane: Lane, call: wire::RequestId, grace: Duration) -> Result<Lane, WireError> {
        self.service(|service| service.cancel(lane.id, call))?;
        lane.wire.carrier_mut().stream_mut().until(Some(Deadline::after(grace).until));
        lane.wire.late_answer()?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use replug_wire::{Call, Channel, Encoding, Kind};

    #[test]
    fn an_idle_lane_releases_the_memory_of_a_large_answer() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answering = thread::spawn(move || {
            let mut channel = Channel::new(theirs);
            let id = channel.receive().unwrap().id;
            channel.send(Kind::Answer, id, [&[0], &[7; 4 << 20]]).unwrap();
        });
        let mut lane = Lane { id: LaneId(1), wire: wire::Lane::over(Line::of_host(ours.into(), None)) };
        let call = Call { interface: 0, method: 0, encoding: Encoding::Binary, arguments: &[] };
        lane.wire.call(call).unwrap();
        answering.join().unwrap();
        let lanes = Lanes::by(limits::LaneKind::Socket);
        lanes.put_back(lane);
        assert!(lanes.idle.lock()[0].wire.memory() < 1 << 16);
    }
}
