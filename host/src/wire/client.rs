//! The host's end: asks the shim over the control connection, calls over lanes, and hears what the plugin reports.
//!
//! Nothing here has a deadline of its own: a stream has, if its owner sets one.

use super::{
    Answer, Call, Channel, Create, Failure, Giving, Health, Hello, Kind, Level, Load, Loaded, Reply, Report,
    Request, RequestId, State, WireError, message::Message,
};
use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
};

/// A request that was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The conversation with the shim broke off: it is to be ended.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The shim or the plugin says no; both go on.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The control connection to a shim.
#[derive(Debug)]
pub struct Control {
    channel: Channel<Giving>,
    last: RequestId,
}

impl Control {
    /// Greets a shim over the connection whose other end it has as its standard input.
    ///
    /// `events` is the end of a connection to which the shim writes what [`Reports`] reads. `lifeline` is the reading
    /// end of a pipe: when no writing end is left, the shim kills itself and what it started.
    ///
    /// # Errors
    ///
    /// * [`WireError::OtherProtocol`] if it is of another version
    /// * [`WireError`] if it is no shim, or is gone
    pub fn greet(stream: UnixStream, events: UnixStream, lifeline: OwnedFd) -> Result<Self, WireError> {
        let mut channel = Channel::new(Giving::new(stream));
        channel.stream_mut().give(events);
        channel.stream_mut().give(lifeline);
        let id = RequestId::default();
        channel.send(Kind::Hello, id, [&Hello::own().encode()?, &[]])?;
        Hello::decode(channel.receive()?.of_kind(Kind::Hello)?)?.check()?;
        Ok(Self { channel, last: id })
    }

    /// The connection, as to set a deadline.
    pub fn stream(&self) -> &UnixStream {
        self.channel.stream().stream()
    }

    /// Opens the library in the shim.
    ///
    /// # Errors
    ///
    /// * [`Failure::Limit`], [`Failure::Load`], and what [`Control::start`] has
    pub fn load(&mut self, load: Load) -> Result<Loaded, ControlError> {
        match self.ask(&Request::Load(load))? {
            Reply::Loaded(loaded) => Ok(loaded),
            reply => refused("load", reply),
        }
    }

    /// Makes the instance: `Plugin::init`.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn create(&mut self, create: Create) -> Result<(), ControlError> {
        self.order(&Request::Create(create))
    }

    /// `Plugin::start`
    ///
    /// # Errors
    ///
    /// * [`ControlError::Wire`] if the shim is gone or out of step
    /// * [`Failure::Life`] if the plugin refuses or panics
    /// * [`Failure::OutOfTurn`], [`Failure::Broken`]
    pub fn start(&mut self) -> Result<(), ControlError> {
        self.order(&Request::Start)
    }

    /// `Plugin::stop`
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn stop(&mut self) -> Result<(), ControlError> {
        self.order(&Request::Stop)
    }

    /// `Plugin::health`
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn health(&mut self) -> Result<Health, ControlError> {
        match self.ask(&Request::Health)? {
            Reply::Health(health) => Ok(health),
            reply => refused("health", reply),
        }
    }

    /// `Plugin::on_config` with the new `[config]` as JSON.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn configure(&mut self, config: impl Into<String>) -> Result<(), ControlError> {
        self.order(&Request::Configure { config: config.into() })
    }

    /// `Plugin::save`
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn save(&mut self) -> Result<Vec<u8>, ControlError> {
        match self.ask(&Request::Save)? {
            Reply::Saved(state) => Ok(state.0),
            reply => refused("save", reply),
        }
    }

    /// `Plugin::restore` with the version that saved, and what it saved.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn restore(&mut self, from_version: u32, state: Vec<u8>) -> Result<(), ControlError> {
        self.order(&Request::Restore { from_version, state: State(state) })
    }

    /// Drops the instance once the calls in it have ended.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`]. The instance is gone even if its drop panicked.
    pub fn destroy(&mut self) -> Result<(), ControlError> {
        self.order(&Request::Destroy)
    }

    /// Sets the most verbose level that the host wants of the plugin's log.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn set_max_level(&mut self, level: Level) -> Result<(), ControlError> {
        self.order(&Request::SetMaxLevel(level))
    }

    /// Opens one more lane.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`]; [`WireError::Io`] if no connection can be made.
    pub fn open_lane(&mut self) -> Result<Lane<UnixStream>, ControlError> {
        let (ours, theirs) = UnixStream::pair().map_err(WireError::from)?;
        self.channel.stream_mut().give(theirs);
        self.order(&Request::OpenLane)?;
        Ok(Lane::new(ours))
    }

    /// Lets the shim end by itself. Whoever started it waits for that.
    ///
    /// # Errors
    ///
    /// * As [`Control::start`].
    pub fn exit(mut self) -> Result<(), ControlError> {
        self.order(&Request::Exit)
    }

    fn order(&mut self, request: &Request) -> Result<(), ControlError> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            reply => refused(request.name(), reply),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply, WireError> {
        self.last = self.last.next();
        self.channel.send(Kind::Request, self.last, [&request.encode()?, &[]])?;
        Reply::decode(self.channel.receive()?.reply_to(self.last, Kind::Reply)?)
    }
}

fn refused<T>(request: &'static str, reply: Reply) -> Result<T, ControlError> {
    match reply {
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(WireError::OtherReply { request }.into()),
    }
}

/// A connection for calls, one at a time. The calling thread owns it for the length of the call.
#[derive(Debug)]
pub struct Lane<S> {
    channel: Channel<S>,
    last: RequestId,
}

impl<S> Lane<S> {
    /// Over a stream whose other end is served.
    pub fn new(stream: S) -> Self {
        Self { channel: Channel::new(stream), last: RequestId::default() }
    }

    /// The stream, as to set a deadline.
    pub fn stream(&self) -> &S {
        self.channel.stream()
    }
}

impl<S: Read + Write> Lane<S> {
    /// Makes a call: writes one frame and reads one.
    ///
    /// # Errors
    ///
    /// * [`WireError::TooLarge`] if the arguments are: nothing was sent, and the lane can still be used.
    /// * [`WireError`]: the lane must be given up, because an answer may still come; whether the call ran is not known.
    pub fn call(&mut self, call: Call<'_>) -> Result<Answer<'_>, WireError> {
        self.last = self.last.next();
        self.channel.send(Kind::Call, self.last, [&call.head(), call.arguments])?;
        Answer::decode(self.channel.receive()?.reply_to(self.last, Kind::Answer)?)
    }
}

/// What the plugin in a shim says unasked. Whoever has it reads it to its end, lest the plugin wait.
#[derive(Debug)]
pub struct Reports<S> {
    channel: Channel<S>,
}

impl<S: Read> Reports<S> {
    /// The most bytes of a report.
    pub const MAX_FRAME: u32 = 2 << 20;

    /// From the host's end of the connection.
    pub fn new(stream: S) -> Self {
        Self { channel: Channel::with_max_frame(stream, Self::MAX_FRAME) }
    }

    /// Waits for the next report; none when the shim is gone.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if what comes is no report: nothing more can be read.
    pub fn next_blocking(&mut self) -> Result<Option<Report>, WireError> {
        let frame = match self.channel.receive() {
            Ok(frame) => frame,
            Err(WireError::Closed) => return Ok(None),
            Err(error) => return Err(error),
        };
        Report::decode(frame.of_kind(Kind::Report)?).map(Some)
    }
}
