//! The host's end: sends requests over the control connection, service commands over the service connection and calls
//! over lanes, and reads the plugin's reports.
//!
//! This module sets no deadline by itself. The owner of a connection may set one on its stream.

use super::{
    Answer, Call, Carrier, Channel, Command, Create, DescriptorSender, Failure, Health, Hello, Kind, LaneId,
    Level, Load, Loaded, Reply, Report, Request, RequestId, State, Timed, WireError, message::Message,
};
use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Instant,
};

/// Why a request failed.
#[derive(thiserror::Error)]
pub enum RequestError {
    /// The connection to the shim failed. The owner must kill the shim.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The shim or the plugin rejected the request; both keep running.
    #[error(transparent)]
    Failed(#[from] Failure),
}

replug_model::readable::readable!(RequestError);

/// The descriptors that a shim receives with the host's `Hello`.
#[derive(Debug)]
pub struct Greeting {
    /// The shim's end of the connection for reports. The host reads the other end with [`Reports`].
    pub events: UnixStream,
    /// The read end of a pipe: when all its write ends are closed, the shim kills itself and the processes that it has
    /// started.
    pub lifeline: OwnedFd,
    /// The shim's end of the service connection. The host writes to the other end with [`Service`].
    pub service: UnixStream,
}

/// The control connection to a shim.
#[derive(Debug)]
pub struct ControlConnection {
    channel: Channel<DescriptorSender>,
    last: RequestId,
}

impl ControlConnection {
    /// Sends `Hello` to a shim over the connection whose other end is the shim's standard input.
    ///
    /// # Errors
    ///
    /// * [`WireError::OtherProtocol`] if the shim uses another version of the protocol
    /// * [`WireError`] if the process is not a shim, or has exited
    pub fn greet(stream: impl Into<Timed>, greeting: Greeting) -> Result<Self, WireError> {
        let mut channel = Channel::new(DescriptorSender::new(stream));
        let Greeting { events, lifeline, service } = greeting;
        channel.stream_mut().attach(events);
        channel.stream_mut().attach(lifeline);
        channel.stream_mut().attach(service);
        let id = RequestId::default();
        channel.send(Kind::Hello, id, [&Hello::own().encode()?, &[]])?;
        Hello::decode(channel.receive()?.of_kind(Kind::Hello)?)?.check()?;
        Ok(Self { channel, last: id })
    }

    /// Sets a deadline: a send or a wait that is not finished by then fails with [`WireError::TimedOut`].
    pub fn until(&mut self, until: Instant) {
        self.channel.stream_mut().stream_mut().until(Some(until));
    }

    /// Opens the library in the shim.
    ///
    /// # Errors
    ///
    /// * [`Failure::Limit`], [`Failure::Load`], and the errors of [`ControlConnection::start`]
    pub fn load(&mut self, load: Load) -> Result<Loaded, RequestError> {
        match self.exchange(&Request::Load(load))? {
            Reply::Loaded(loaded) => Ok(loaded),
            reply => refused("load", reply),
        }
    }

    /// Creates the instance, which calls `Plugin::init`.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn create(&mut self, create: Create) -> Result<(), RequestError> {
        self.execute(&Request::Create(create))
    }

    /// Calls `Plugin::start`.
    ///
    /// # Errors
    ///
    /// * [`RequestError::Wire`] if the shim has exited or is out of sync
    /// * [`Failure::Life`] if the plugin fails or panics
    /// * [`Failure::OutOfTurn`], [`Failure::Broken`]
    pub fn start(&mut self) -> Result<(), RequestError> {
        self.execute(&Request::Start)
    }

    /// Calls `Plugin::stop`.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn stop(&mut self) -> Result<(), RequestError> {
        self.execute(&Request::Stop)
    }

    /// Calls `Plugin::health`.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn health(&mut self) -> Result<Health, RequestError> {
        match self.exchange(&Request::Health)? {
            Reply::Health(health) => Ok(health),
            reply => refused("health", reply),
        }
    }

    /// Calls `Plugin::on_config` with the new `[config]` as JSON.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn configure(&mut self, config: impl Into<String>) -> Result<(), RequestError> {
        self.execute(&Request::Configure { config: config.into() })
    }

    /// Calls `Plugin::save`, and returns the saved state.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn save(&mut self) -> Result<Vec<u8>, RequestError> {
        match self.exchange(&Request::Save)? {
            Reply::Saved(state) => Ok(state.0),
            reply => refused("save", reply),
        }
    }

    /// Calls `Plugin::restore` with the state, and the state version (`STATE_VERSION`) in which it was saved.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn restore(&mut self, from_version: u32, state: Vec<u8>) -> Result<(), RequestError> {
        self.execute(&Request::Restore { from_version, state: State(state) })
    }

    /// Drops the instance after the calls in it have returned.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`]. The instance no longer exists, even if its drop panicked.
    pub fn destroy(&mut self) -> Result<(), RequestError> {
        self.execute(&Request::Destroy)
    }

    /// Asks the shim to exit. The process that started the shim must wait for its exit.
    ///
    /// # Errors
    ///
    /// * As for [`ControlConnection::start`].
    pub fn exit(mut self) -> Result<(), RequestError> {
        self.execute(&Request::Exit)
    }

    fn execute(&mut self, request: &Request) -> Result<(), RequestError> {
        match self.exchange(request)? {
            Reply::Done => Ok(()),
            reply => refused(request.name(), reply),
        }
    }

    fn exchange(&mut self, request: &Request) -> Result<Reply, WireError> {
        self.last = self.last.next();
        self.channel.send(Kind::Request, self.last, [&request.encode()?, &[]])?;
        let reply = Reply::decode(self.channel.receive()?.reply_to(self.last, Kind::Reply)?);
        // The next request may come much later, so the channel must not keep a large buffer until then.
        self.channel.shrink();
        reply
    }
}

fn refused<T>(request: &'static str, reply: Reply) -> Result<T, RequestError> {
    match reply {
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(WireError::OtherReply { request }.into()),
    }
}

/// The service connection to a shim. The shim executes the commands on this connection immediately, even during a
/// lifecycle step of the plugin, and does not answer them.
#[derive(Debug)]
pub struct Service {
    channel: Channel<DescriptorSender>,
    lanes: u64,
}

impl Service {
    /// Uses `stream`, whose other end was sent with the [`Greeting`].
    pub fn new(stream: impl Into<Timed>) -> Self {
        Self { channel: Channel::new(DescriptorSender::new(stream)), lanes: 0 }
    }

    /// Sets a deadline: a command that is not sent by then fails with [`WireError::TimedOut`].
    pub fn until(&mut self, until: Instant) {
        self.channel.stream_mut().stream_mut().until(Some(until));
    }

    /// Opens one more lane. The caller may write calls to the returned stream immediately.
    ///
    /// # Errors
    ///
    /// * [`WireError::Io`] if no connection can be created
    /// * [`WireError`] if the shim has exited, or does not read any more
    pub fn open_lane(&mut self) -> Result<(LaneId, UnixStream), WireError> {
        let (ours, theirs) = UnixStream::pair()?;
        let id = self.next_lane();
        self.channel.stream_mut().attach(theirs);
        self.send(Command::OpenLane(id))?;
        Ok((id, ours))
    }

    /// Opens one more lane with shared memory. `memory` has the descriptors of two memories of `bytes` bytes each: the
    /// first one is written by the host, and the second one by the shim.
    ///
    /// # Errors
    ///
    /// * As for [`Service::open_lane`]
    pub fn open_memory_lane(
        &mut self,
        memory: [OwnedFd; 2],
        bytes: u32,
    ) -> Result<(LaneId, UnixStream), WireError> {
        let (ours, theirs) = UnixStream::pair()?;
        let lane = self.next_lane();
        self.channel.stream_mut().attach(theirs);
        memory.into_iter().for_each(|memory| self.channel.stream_mut().attach(memory));
        self.send(Command::OpenMemoryLane { lane, bytes })?;
        Ok((lane, ours))
    }

    fn next_lane(&mut self) -> LaneId {
        self.lanes += 1;
        LaneId(self.lanes)
    }

    /// Cancels a call whose caller no longer waits. The plugin can ask whether the call was cancelled. The answer still
    /// arrives.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if the shim has exited, or does not read any more
    pub fn cancel(&mut self, lane: LaneId, call: RequestId) -> Result<(), WireError> {
        self.send(Command::Cancel { lane, call })
    }

    /// Sets the most verbose level of the plugin's log.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if the shim has exited, or does not read any more
    pub fn set_max_level(&mut self, level: Level) -> Result<(), WireError> {
        self.send(Command::SetMaxLevel(level))
    }

    fn send(&mut self, command: Command) -> Result<(), WireError> {
        self.channel.send(Kind::Command, RequestId::default(), [&command.encode()?, &[]])
    }
}

/// A connection that carries one call at a time. The calling thread owns the lane during the call.
#[derive(Debug)]
pub struct Lane<C> {
    carrier: C,
    last: RequestId,
    /// Whether the lane awaits an answer: the last call was sent completely, the shim may have read it, and no answer
    /// has arrived yet.
    awaits: bool,
}

impl<S: Read + Write> Lane<Channel<S>> {
    /// Uses `stream`, at whose other end a shim serves calls.
    pub fn new(stream: S) -> Self {
        Self::over(Channel::new(stream))
    }
}

impl<C: Carrier> Lane<C> {
    /// Uses `carrier`, at whose other end a shim serves calls.
    pub fn over(carrier: C) -> Self {
        Self { carrier, last: RequestId::default(), awaits: false }
    }

    /// What carries the calls.
    pub fn carrier(&self) -> &C {
        &self.carrier
    }

    /// What carries the calls, to set a deadline. Only the lane may send or receive with it.
    pub fn carrier_mut(&mut self) -> &mut C {
        &mut self.carrier
    }

    /// Frees the memory of a very large answer. Must not be called during a call on the lane.
    pub fn shrink(&mut self) {
        self.carrier.shrink();
    }

    /// The number of bytes of memory that the lane uses.
    pub fn memory(&self) -> usize {
        self.carrier.memory()
    }

    /// The id of the call whose answer is awaited. `None` after a failed [`Lane::call`] means that the plugin has not
    /// begun the call.
    pub fn awaited(&self) -> Option<RequestId> {
        self.awaits.then_some(self.last)
    }

    /// Makes a call: writes one frame and reads one.
    ///
    /// # Errors
    ///
    /// * [`WireError::TooLarge`] if the arguments are too large: nothing was sent, and the lane is still usable.
    /// * [`WireError::TimedOut`] with an [awaited](Lane::awaited) answer: [`Lane::late_answer`] may still get it.
    /// * [`WireError::Unread`]: the shim has exited and has not read the call. The lane must be closed.
    /// * Any other [`WireError`]: the lane must be closed.
    pub fn call(&mut self, call: Call<'_>) -> Result<Answer<'_>, WireError> {
        self.last = self.last.next();
        self.awaits = false;
        self.carrier.send(Kind::Call, self.last, [&call.head(), call.arguments])?;
        self.awaits = true;
        self.answer()
    }

    /// Continues to wait for the answer to a call for which [`Lane::call`] has already returned
    /// [`WireError::TimedOut`]. After the answer has arrived, the lane is usable again.
    ///
    /// # Errors
    ///
    /// * [`WireError::TimedOut`]: the caller may wait for the answer again.
    /// * [`WireError`]: the lane must be closed.
    pub fn late_answer(&mut self) -> Result<Answer<'_>, WireError> {
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer<'_>, WireError> {
        let received = self.carrier.receive();
        // `Unread` means that the shim has not read some of the sent data. A lane sends nothing before the previous
        // answer has arrived, so the unread data belongs to this call.
        self.awaits = !matches!(received, Err(WireError::Unread));
        let answer = Answer::decode(received?.reply_to(self.last, Kind::Answer)?)?;
        self.awaits = false;
        Ok(answer)
    }
}

/// The reports of the plugin in a shim. The owner must keep reading them, because the plugin blocks otherwise.
#[derive(Debug)]
pub struct Reports<S> {
    channel: Channel<S>,
}

impl<S: Read> Reports<S> {
    /// The maximum size of a report, in bytes.
    pub const MAX_FRAME: u32 = 2 << 20;

    /// Reads from `stream`, the host's end of the connection.
    pub fn new(stream: S) -> Self {
        Self { channel: Channel::with_max_frame(stream, Self::MAX_FRAME) }
    }

    /// Waits for the next report; `None` when the shim has exited.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if the received frame is not a report. Nothing more can be read.
    pub fn next_blocking(&mut self) -> Result<Option<Report>, WireError> {
        let frame = match self.channel.receive() {
            Ok(frame) => frame,
            Err(WireError::Closed | WireError::Unread) => return Ok(None),
            Err(error) => return Err(error),
        };
        Report::decode(frame.of_kind(Kind::Report)?).map(Some)
    }
}
