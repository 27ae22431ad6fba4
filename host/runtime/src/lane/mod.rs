//! A lane: passes calls to a child process, and their answers back. Both processes use this module.
//!
//! A lane has a socket. It also has shared memory, except if the manifest requests only a socket, or if one of the two
//! processes cannot map the memory. A message that fits is passed in the memory, and a longer one over the socket. A
//! thread that waits for a message spins for a short time, announces in the memory that it sleeps, and then sleeps on
//! the socket. A sender wakes a sleeping thread with a *bell*: a frame of the kind `Bell`. Because the thread sleeps on
//! the socket, a deadline or the exit of the other process wakes it, as on a lane without memory, and an idle lane
//! needs no processor time.
//!
//! `slot.rs` has the protocol in the memory, `memory.rs` maps it, `spin.rs` decides whether to spin, `spin_turn.rs` when
//! a thread that spins yields its processor, and `processor.rs` finds and changes the processor of a thread.

#[cfg(test)]
mod damage;
mod memory;
mod processor;
mod slot;
mod spin;
mod spin_turn;
#[cfg(test)]
mod tests;

mod sync {
    pub(super) use std::sync::atomic::{AtomicU64, Ordering, fence};
}

use memory::LaneMapping;
use replug_wire::{BELL, Carrier, Channel, Frame, Kind, RequestId, Timed, WireError};
use rustix::net::{SendFlags, send};
use slot::{Arrival, LanePort};
pub use spin::{LONGEST_SPIN, usable_processors};
use spin::{PeerPlace, Spin, Waiting};
use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::Instant,
};

/// The size of a lane's memory in each direction, in bytes. For longer messages, the memory has no advantage over the
/// socket.
pub(crate) const LANE_BYTES: usize = 64 << 10;

/// A stream that may have a deadline.
pub(crate) trait Stream: Read + Write + AsFd {
    /// Fails if the deadline has passed.
    fn check(&self) -> io::Result<()>;
}

impl Stream for Timed {
    fn check(&self) -> io::Result<()> {
        Self::check(self)
    }
}

impl Stream for UnixStream {
    fn check(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Checks that this process can create the memory of a lane.
///
/// # Errors
///
/// * The kernel's error
pub fn probe() -> io::Result<()> {
    let (_host, _descriptors) = HostMemory::make()?;
    Ok(())
}

/// Checks that a thread of this process can move to another processor. Returns false if it may use only one.
///
/// # Errors
///
/// * The kernel's error
pub fn probe_move() -> io::Result<bool> {
    // This runs on another thread, so that the processor mask of the calling thread stays unchanged.
    let moved = thread::Builder::new().spawn(|| processor::leave(processor::current()))?.join();
    moved.unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
}

/// The memory of a lane, mapped by the host.
#[derive(Debug)]
pub(crate) struct HostMemory(Memory);

impl HostMemory {
    /// Creates the memory. The descriptors are for the child: that of the file that the host writes, and that of the
    /// file that the child writes.
    ///
    /// # Errors
    ///
    /// * The kernel's error
    pub(crate) fn make() -> io::Result<(Self, [OwnedFd; 2])> {
        let (own, calls) = LaneMapping::to_write(LANE_BYTES)?;
        let (peer, answers) = LaneMapping::to_read(LANE_BYTES)?;
        Ok((Self(Memory::new(LanePort::new(own, peer), Spin::of_host())), [calls, answers]))
    }
}

/// The memory of a lane, as received by the shim, which has not mapped it yet.
#[derive(Debug)]
pub(crate) struct ShimMemory {
    /// The file that the host writes, and the file that the shim writes.
    pub(crate) files: [OwnedFd; 2],
    pub(crate) bytes: u32,
}

impl ShimMemory {
    fn map(self) -> io::Result<Memory> {
        let [calls, answers] = self.files;
        let bytes = usize::try_from(self.bytes).map_err(|_| io::ErrorKind::InvalidData)?;
        let port = LanePort::new(LaneMapping::written(answers, bytes)?, LaneMapping::read(calls, bytes)?);
        Ok(Memory::new(port, Spin::of_shim()))
    }
}

/// One end of a lane.
#[derive(Debug)]
pub(crate) struct Line<S> {
    channel: Channel<S>,
    /// The kind of all messages that this end receives: calls or answers.
    receives: Kind,
    memory: Option<Memory>,
}

impl Line<Timed> {
    /// The host's end.
    pub(crate) fn of_host(stream: Timed, memory: Option<HostMemory>) -> Self {
        let memory = memory.map(|HostMemory(memory)| memory);
        memory.iter().for_each(|memory| memory.port.announce());
        Self { channel: Channel::new(stream), receives: Kind::Answer, memory }
    }

    /// Whether the process at the other end uses the memory.
    pub(crate) fn uses_memory(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.port.has_peer())
    }
}

impl Line<UnixStream> {
    /// The shim's end. If the shim cannot map the memory, the lane uses its socket only.
    pub(crate) fn of_shim(stream: UnixStream, memory: Option<ShimMemory>) -> Self {
        let memory = memory.and_then(|memory| memory.map().ok());
        // From here on, the host may send through the memory.
        memory.iter().for_each(|memory| memory.port.announce());
        Self { channel: Channel::new(stream), receives: Kind::Call, memory }
    }
}

impl<S> Line<S> {
    /// The stream, to set a deadline.
    pub(crate) fn stream_mut(&mut self) -> &mut S {
        self.channel.stream_mut()
    }
}

/// Wakes the other end, which sleeps on the socket.
///
/// Does not wait, and does not depend on the deadline: the message was sent, so the other end must see it even if the
/// deadline passes now. Ignores errors: if the socket has no room, the other end has earlier frames to read, and these
/// wake it. If the other end has terminated, the next wait for a message returns an error.
fn ring(stream: &impl AsFd) {
    let _ = send(stream, &BELL, SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}

/// Removes a bell, which is the next frame of `channel`.
fn remove_bell<S: Stream>(channel: &mut Channel<S>) -> Result<(), WireError> {
    match channel.receive()?.payload.len() {
        0 => Ok(()),
        len => Err(WireError::Garbled { what: "a bell", reason: format!("it has {len} bytes of payload") }),
    }
}

impl<S: Stream> Carrier for Line<S> {
    fn send(&mut self, kind: Kind, id: RequestId, payload: [&[u8]; 2]) -> Result<(), WireError> {
        let Some(memory) = self.memory.as_mut().filter(|memory| memory.port.has_peer()) else {
            return self.channel.send(kind, id, payload);
        };
        if memory.port.fits(payload) {
            self.channel.stream().check()?;
            memory.has_sent = true;
            if memory.port.send(id.0, payload) {
                ring(self.channel.stream());
            }
            return Ok(());
        }
        self.channel.length_of(payload)?;
        memory.has_sent = true;
        memory.port.send_elsewhere();
        self.channel.send(kind, id, payload)
    }

    fn receive(&mut self) -> Result<Frame<'_>, WireError> {
        let Some(memory) = &mut self.memory else { return self.channel.receive() };
        match memory.wait(&mut self.channel)? {
            Arrival::Here { head, body } => {
                let (id, len) = memory.port.receive(head, body, &mut memory.received);
                Ok(Frame { kind: self.receives, id: RequestId(id), payload: &memory.received[..len] })
            }
            Arrival::Elsewhere => match self.channel.receive() {
                Ok(frame) => {
                    // The sender has also announced the message in the memory if it knew that this end uses the memory.
                    if memory.poll()? == Some(Arrival::Elsewhere) {
                        memory.port.taken();
                    }
                    Ok(frame)
                }
                Err(error) => Err(memory.ended(error)),
            },
        }
    }

    fn shrink(&mut self) {
        self.channel.shrink();
    }

    fn memory(&self) -> usize {
        self.channel.memory() + self.memory.as_ref().map_or(0, |memory| memory.received.len())
    }
}

/// The memory of a lane, as one end of the lane uses it.
#[derive(Debug)]
struct Memory {
    port: LanePort<LaneMapping>,
    spin: Spin,
    /// A copy of the last message that was received through the memory, and bytes of earlier ones.
    received: Vec<u8>,
    /// Whether the last message to the other end went through the memory, or was announced there.
    has_sent: bool,
}

impl Memory {
    fn new(port: LanePort<LaneMapping>, spin: Spin) -> Self {
        Self { port, spin, received: Vec::new(), has_sent: false }
    }

    fn poll(&self) -> Result<Option<Arrival>, WireError> {
        let broken =
            |slot::Broken(reason)| WireError::Garbled { what: "a lane's memory", reason: reason.into() };
        self.port.poll().map_err(broken)
    }

    /// Waits for a message. If it comes over the socket, it is the next frame of `channel`.
    fn wait<S: Stream>(&mut self, channel: &mut Channel<S>) -> Result<Arrival, WireError> {
        let here = processor::current();
        self.port.runs_on(Some(here));
        let peer = if self.port.peer_runs_on(here) { PeerPlace::Here } else { PeerPlace::Elsewhere };
        let since = self.spin.measures(peer).then(Instant::now);
        // Until the other end uses the memory, its messages come over the socket.
        let waiting = if self.port.has_peer() { self.spin.next_wait(peer) } else { Waiting::Sleep };
        if waiting == Waiting::Spin || waiting == Waiting::Move && self.leave(here) {
            if self.spin.turn.is_over() {
                let before = Instant::now();
                thread::yield_now();
                self.spin.turn.has_yielded(before.elapsed());
            }
            let port = &self.port;
            self.spin.until(|| !matches!(port.poll(), Ok(None)));
        }
        let mut arrival = self.poll()?;
        if arrival.is_none() {
            self.spin.turn.has_slept();
            self.port.fall_asleep();
            let slept = self.sleep(channel);
            self.port.awake();
            arrival = Some(slept?);
        }
        if let Some(since) = since.filter(|_| waiting == Waiting::Sleep) {
            self.spin.has_slept(since.elapsed());
        }
        if arrival == Some(Arrival::Elsewhere) {
            while channel.next_kind().map_err(|error| self.ended(error))? == Kind::Bell {
                remove_bell(channel)?;
            }
        }
        Ok(arrival.unwrap_or(Arrival::Elsewhere))
    }

    /// Moves the calling thread away from the processor `here`. Returns whether that succeeded.
    fn leave(&mut self, here: usize) -> bool {
        // No processor is published, so that the other end, which runs as soon as this one has left, may spin.
        self.port.runs_on(None);
        let left = processor::leave(here).unwrap_or(false);
        self.port.runs_on(Some(processor::current()));
        self.spin.has_moved(left);
        left
    }

    /// Sleeps on the socket until a message arrives. This end has announced in the memory that it sleeps.
    fn sleep<S: Stream>(&mut self, channel: &mut Channel<S>) -> Result<Arrival, WireError> {
        loop {
            if let Some(arrival) = self.poll()? {
                return Ok(arrival);
            }
            match channel.next_kind() {
                // The bell may belong to an earlier message, which was found before its bell.
                Ok(Kind::Bell) => remove_bell(channel)?,
                Ok(_) => return Ok(Arrival::Elsewhere),
                Err(WireError::TimedOut) => return Err(WireError::TimedOut),
                Err(error) => match self.poll()? {
                    // The message was sent before the connection ended.
                    Some(arrival @ Arrival::Here { .. }) => return Ok(arrival),
                    _ => return Err(self.ended(error)),
                },
            }
        }
    }

    /// Converts the socket's error for a connection that has ended: to `Unread` if the other end has not received the
    /// last message, and to `Closed` otherwise.
    fn ended(&self, error: WireError) -> WireError {
        match error {
            WireError::Closed | WireError::Unread | WireError::Truncated { .. } if self.has_sent => {
                if self.port.last_is_untaken() { WireError::Unread } else { WireError::Closed }
            }
            error => error,
        }
    }
}
