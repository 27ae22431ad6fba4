//! The host's end: asks the shim over the control connection, orders over the service connection, calls over lanes, and
//! hears what the plugin reports.
//!
//! Nothing here has a deadline of its own: a stream has, if its owner sets one.

use super::{
    Answer, Call, Channel, Create, Failure, Giving, Health, Hello, Kind, LaneId, Level, Load, Loaded, Order,
    Reply, Report, Request, RequestId, State, Timed, WireError, message::Message,
};
use std::{
    io::{Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    time::Instant,
};

/// A request that was not done.
#[derive(thiserror::Error)]
pub enum ControlError {
    /// The conversation with the shim broke off: it is to be ended.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The shim or the plugin says no; both go on.
    #[error(transparent)]
    Failed(#[from] Failure),
}

replug_model::readable::readable!(ControlError);

/// What a shim gets with the greeting.
#[derive(Debug)]
pub struct Greeting {
    /// The end of a connection to which the shim writes what [`Reports`] reads.
    pub events: UnixStream,
    /// The reading end of a pipe: when no writing end is left, the shim kills itself and what it started.
    pub lifeline: OwnedFd,
    /// The end of a connection on which it takes what [`Service`] writes.
    pub service: UnixStream,
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
    /// # Errors
    ///
    /// * [`WireError::OtherProtocol`] if it is of another version
    /// * [`WireError`] if it is no shim, or is gone
    pub fn greet(stream: impl Into<Timed>, greeting: Greeting) -> Result<Self, WireError> {
        let mut channel = Channel::new(Giving::new(stream));
        let Greeting { events, lifeline, service } = greeting;
        channel.stream_mut().give(events);
        channel.stream_mut().give(lifeline);
        channel.stream_mut().give(service);
        let id = RequestId::default();
        channel.send(Kind::Hello, id, [&Hello::own().encode()?, &[]])?;
        Hello::decode(channel.receive()?.of_kind(Kind::Hello)?)?.check()?;
        Ok(Self { channel, last: id })
    }

    /// From now on the connection is given up then: what is sent or awaited by then is [`WireError::TimedOut`].
    pub fn until(&mut self, until: Instant) {
        self.channel.stream_mut().stream_mut().until(Some(until));
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
        let reply = Reply::decode(self.channel.receive()?.reply_to(self.last, Kind::Reply)?);
        // It may be long until the next step.
        self.channel.lay_aside();
        reply
    }
}

fn refused<T>(request: &'static str, reply: Reply) -> Result<T, ControlError> {
    match reply {
        Reply::Failed(failure) => Err(failure.into()),
        _ => Err(WireError::OtherReply { request }.into()),
    }
}

/// The service connection to a shim: what goes over it is done at once, and not answered.
///
/// So whoever opens a lane or cancels a call waits for no step of the plugin's life, and not for the shim either.
#[derive(Debug)]
pub struct Service {
    channel: Channel<Giving>,
    lanes: u64,
}

impl Service {
    /// Over the connection whose other end went with the [`Greeting`].
    pub fn new(stream: impl Into<Timed>) -> Self {
        Self { channel: Channel::new(Giving::new(stream)), lanes: 0 }
    }

    /// From now on the connection is given up then: what is not sent by then is [`WireError::TimedOut`].
    pub fn until(&mut self, until: Instant) {
        self.channel.stream_mut().stream_mut().until(Some(until));
    }

    /// Opens one more lane. Calls may be written to it at once.
    ///
    /// # Errors
    ///
    /// * [`WireError::Io`] if no connection can be made
    /// * [`WireError`] if the shim is gone, or takes nothing any more
    pub fn open_lane(&mut self) -> Result<(LaneId, UnixStream), WireError> {
        let (ours, theirs) = UnixStream::pair()?;
        self.lanes += 1;
        let id = LaneId(self.lanes);
        self.channel.stream_mut().give(theirs);
        self.order(Order::OpenLane(id))?;
        Ok((id, ours))
    }

    /// Tells a call that it is no longer waited for. Its answer comes all the same.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if the shim is gone, or takes nothing any more
    pub fn cancel(&mut self, lane: LaneId, call: RequestId) -> Result<(), WireError> {
        self.order(Order::Cancel { lane, call })
    }

    /// Sets the most verbose level that the host wants of the plugin's log.
    ///
    /// # Errors
    ///
    /// * [`WireError`] if the shim is gone, or takes nothing any more
    pub fn set_max_level(&mut self, level: Level) -> Result<(), WireError> {
        self.order(Order::SetMaxLevel(level))
    }

    fn order(&mut self, order: Order) -> Result<(), WireError> {
        self.channel.send(Kind::Order, RequestId::default(), [&order.encode()?, &[]])
    }
}

/// A connection for calls, one at a time. The calling thread owns it for the length of the call.
#[derive(Debug)]
pub struct Lane<S> {
    channel: Channel<S>,
    last: RequestId,
    /// Whether a call was sent as a whole, for all that is known was read, and its answer has not come.
    awaits: bool,
}

impl<S> Lane<S> {
    /// Over a stream whose other end is served.
    pub fn new(stream: S) -> Self {
        Self { channel: Channel::new(stream), last: RequestId::default(), awaits: false }
    }

    /// The stream, as to set a deadline.
    pub fn stream(&self) -> &S {
        self.channel.stream()
    }

    /// The stream, to be written to or read from by nothing but the lane.
    pub fn stream_mut(&mut self) -> &mut S {
        self.channel.stream_mut()
    }

    /// Gives back the memory of a very large answer, once no call is on the lane.
    pub fn lay_aside(&mut self) {
        self.channel.lay_aside();
    }

    /// The bytes of memory that it holds.
    pub fn memory(&self) -> usize {
        self.channel.memory()
    }

    /// The call whose answer has not come. Without one, a call that failed never reached the plugin.
    pub fn awaited(&self) -> Option<RequestId> {
        self.awaits.then_some(self.last)
    }
}

impl<S: Read + Write> Lane<S> {
    /// Makes a call: writes one frame and reads one.
    ///
    /// # Errors
    ///
    /// * [`WireError::TooLarge`] if the arguments are: nothing was sent, and the lane can still be used.
    /// * [`WireError::TimedOut`] with an [awaited](Lane::awaited) answer: [`Lane::late_answer`] may still get it.
    /// * [`WireError::Unread`]: no answer is awaited, because no one has read the call.
    /// * [`WireError`]: the lane must be given up.
    pub fn call(&mut self, call: Call<'_>) -> Result<Answer<'_>, WireError> {
        self.last = self.last.next();
        self.awaits = false;
        self.channel.send(Kind::Call, self.last, [&call.head(), call.arguments])?;
        self.awaits = true;
        self.answer()
    }

    /// Waits for the answer to a call that was given up. Afterwards the lane is as good as any.
    ///
    /// # Errors
    ///
    /// * [`WireError::TimedOut`]: it may be waited for again.
    /// * [`WireError`]: the lane must be given up.
    pub fn late_answer(&mut self) -> Result<Answer<'_>, WireError> {
        self.answer()
    }

    fn answer(&mut self) -> Result<Answer<'_>, WireError> {
        let received = self.channel.receive();
        // Nothing is sent before the answer to what was sent before has come: what was left unread is this call.
        self.awaits = !matches!(received, Err(WireError::Unread));
        let answer = Answer::decode(received?.reply_to(self.last, Kind::Answer)?)?;
        self.awaits = false;
        Ok(answer)
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
            Err(WireError::Closed | WireError::Unread) => return Ok(None),
            Err(error) => return Err(error),
        };
        Report::decode(frame.of_kind(Kind::Report)?).map(Some)
    }
}
