//! The lanes to one child: as many as there are calls at once. The calling thread owns its lane for the call, writes one
//! frame and reads one, so that a call is one round trip and no other thread has to be woken for it.
//!
//! A caller whose deadline passes leaves at once. Its lane stays behind with a thread that cancels the call and waits for
//! the late answer, after which the lane is as good as any; if none comes in time, the process is ended.

use super::{child::Child, deadline::Deadline};
use parking_lot::Mutex;
use replug_wire::{self as wire, LaneId, Timed, WireError};
use std::{io, sync::Arc, thread, time::Duration};

/// A connection to a child for calls.
pub(super) struct Lane {
    id: LaneId,
    pub(super) wire: wire::Lane<Timed>,
}

/// Lanes that no call is on.
#[derive(Default)]
pub(super) struct Lanes {
    idle: Mutex<Vec<Lane>>,
}

impl Lanes {
    fn keep(&self, mut lane: Lane) {
        // It may be long until its next call.
        lane.wire.lay_aside();
        self.idle.lock().push(lane);
    }
}

/// Why there is no lane.
pub(super) enum NoLane {
    /// The process is gone, or is as good as gone.
    Gone,
    /// This process can make no connection, and the other is none the worse.
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
    /// * [`NoLane`]
    pub(super) fn lane(&self) -> Result<Lane, NoLane> {
        if let Some(lane) = self.lanes.idle.lock().pop() {
            return Ok(lane);
        }
        let (id, stream) = self.service(|service| service.open_lane())?;
        let stream = Timed::from(stream);
        self.life.end_with_process(stream.connection()).map_err(|_| NoLane::Gone)?;
        Ok(Lane { id, wire: wire::Lane::new(stream) })
    }

    /// Takes back a lane whose call has ended.
    pub(super) fn give_back(&self, lane: Lane) {
        self.lanes.keep(lane);
    }

    /// Sees to a lane with a call that is no longer waited for, in the background.
    pub(super) fn give_up(self: &Arc<Self>, lane: Lane, late: Late) {
        // A call that was not sent as a whole has not begun, and will not: its lane ends here.
        let Some(call) = lane.wire.awaited() else { return };
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
        self.service(|service| service.cancel(lane.id, call))?;
        lane.wire.stream_mut().until(Some(Deadline::after(grace).until));
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
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_lane_that_no_call_is_on_keeps_no_memory_of_a_very_large_answer() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let answering = thread::spawn(move || {
            let mut channel = Channel::new(theirs);
            let id = channel.receive().unwrap().id;
            channel.send(Kind::Answer, id, [&[0], &[7; 4 << 20]]).unwrap();
        });
        let mut lane = Lane { id: LaneId(1), wire: wire::Lane::new(Timed::from(ours)) };
        let call = Call { interface: 0, method: 0, encoding: Encoding::Binary, arguments: &[] };
        lane.wire.call(call).unwrap();
        answering.join().unwrap();
        let lanes = Lanes::default();
        lanes.keep(lane);
        assert!(lanes.idle.lock()[0].wire.memory() < 1 << 16);
    }
}
