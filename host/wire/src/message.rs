//! The messages between host and shim, except calls: encoded as postcard, one message per frame.
//!
//! Every new field or variant requires a new value of [`PROTOCOL`](super::PROTOCOL). The exception is [`Hello`]: its
//! fields never change, and a later version may only append others. So a host and a shim of different versions can at
//! least report the difference.

use super::{Limits, RequestId, WireError};
use replug_model::{
    id::{Generation, PluginId},
    step::Step,
    text,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::PathBuf;

/// The first message in each direction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`](super::PROTOCOL) of the sender.
    pub protocol: u32,
    /// The sender's version of `replug-api`, for the error message if the protocol versions differ.
    pub api: String,
}

impl Hello {
    /// The `Hello` that this process sends.
    pub fn own() -> Self {
        Self { protocol: super::PROTOCOL, api: env!("CARGO_PKG_VERSION").into() }
    }

    /// Checks that the protocol versions match.
    ///
    /// # Errors
    ///
    /// * [`WireError::OtherProtocol`]
    pub fn check(self) -> Result<(), WireError> {
        if self.protocol == super::PROTOCOL {
            Ok(())
        } else {
            Err(WireError::OtherProtocol { theirs: self.protocol, api: self.api })
        }
    }
}

/// A request of the host. The shim processes requests one after the other, in the order of their arrival.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Sets the limits, then opens the library and checks it: [`Reply::Loaded`].
    Load(Load),
    /// Creates the instance, which calls `Plugin::init`.
    Create(Create),
    /// Calls `Plugin::start`.
    Start,
    /// Calls `Plugin::stop`.
    Stop,
    /// Calls `Plugin::health`: [`Reply::Health`].
    Health,
    /// Calls `Plugin::on_config`.
    Configure {
        /// The new `[config]` as JSON.
        config: String,
    },
    /// Calls `Plugin::save`: [`Reply::Saved`].
    Save,
    /// Calls `Plugin::restore`.
    Restore {
        /// `Plugin::STATE_VERSION` of the instance that saved the state.
        from_version: u32,
        /// The saved state.
        state: State,
    },
    /// Drops the instance after the calls in it have returned.
    Destroy,
    /// Makes the shim exit after its reply.
    Exit,
}

impl Request {
    /// The name of the request in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Load(_) => "load",
            Self::Create(_) => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Health => "health",
            Self::Configure { .. } => "configure",
            Self::Save => "save",
            Self::Restore { .. } => "restore",
            Self::Destroy => "destroy",
            Self::Exit => "exit",
        }
    }
}

/// A service command of the host. The shim executes it immediately, even during a lifecycle step, and does not reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Serves calls on the connection whose descriptor is sent along.
    OpenLane(LaneId),
    /// Serves calls on a connection and in shared memory. Three descriptors are sent along: the connection, the memory that
    /// the host writes, and the memory that the shim writes.
    OpenMemoryLane {
        /// The lane.
        lane: LaneId,
        /// The size of each of the two memories, in bytes.
        bytes: u32,
    },
    /// Cancels a call whose caller no longer waits. The plugin can ask whether the call was cancelled. The shim ignores
    /// the command if the call has returned, or if the lane is closed.
    Cancel {
        /// The lane of the call.
        lane: LaneId,
        /// The call.
        call: RequestId,
    },
    /// Sets the most verbose level of the plugin's log.
    SetMaxLevel(Level),
}

/// The number of a lane, never reused by a host for the same shim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u64);

/// The library to open, and the limits of the process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// The path of a private copy of the artifact. The shim opens the copy by this path, so that debuggers and
    /// backtraces find the file.
    pub path: PathBuf,
    /// The shared standard library that the artifact links, if any.
    pub shared_std: Option<PathBuf>,
    /// The limits of the process. They apply before any code of the plugin runs.
    pub limits: Limits,
}

/// The parameters of a new instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The plugin's id.
    pub id: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The folder for the plugin's own data.
    pub data_dir: PathBuf,
    /// `[config]` of the manifest as JSON.
    pub config: String,
    /// Whether the instance is created for a trial and then discarded.
    pub trial: bool,
    /// The most verbose level of the plugin's log.
    pub max_level: Level,
}

/// The most verbose level of a log, from 0 (no events) and 1 (errors only) to 5 (all events).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Level(pub u8);

/// The saved state of a plugin. serde encodes it as bytes, and not as a list of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State(pub Vec<u8>);

impl Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&[u8]>::deserialize(deserializer).map(|bytes| Self(bytes.to_vec()))
    }
}

/// The shim's answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Success.
    Done,
    /// The library is open and passed all checks.
    Loaded(Loaded),
    /// The health of the plugin.
    Health(Health),
    /// The saved state of the plugin.
    Saved(State),
    /// The request failed. The next request may follow.
    Failed(Failure),
}

/// The description of a library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The version of `replug-api` with which the plugin was built.
    pub api_version: String,
    /// The plugin's package name.
    pub package: String,
    /// The plugin's package version.
    pub version: String,
    /// Whether the plugin has state to hand over to its next generation.
    pub stateful: bool,
    /// `Plugin::STATE_VERSION`
    pub state_version: u32,
    /// Whether a panic in the plugin unwinds. Otherwise, a panic aborts the process.
    pub panic_unwinds: bool,
    /// The plugin's interfaces, in the order of `export!`; a [`Call`](super::Call) refers to them by position.
    pub interfaces: Vec<Described>,
}

/// An interface by name, with its description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Described {
    /// The trait's name.
    pub name: String,
    /// The [`replug_api::describe::Interface`] as JSON.
    pub description: String,
}

/// The health of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether the plugin can do its work.
    pub healthy: bool,
    /// The reason, for people; may be empty.
    pub message: String,
}

/// Why a [`Request`] failed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// A limit could not be set.
    #[error("cannot set the limit on {what} to {value}: {reason}")]
    Limit {
        /// The resource.
        what: String,
        /// The requested value.
        value: u64,
        /// The kernel's error.
        reason: String,
    },
    /// The library was rejected.
    #[error("{message}")]
    Load {
        /// The reason, and what to do.
        message: String,
    },
    /// A lifecycle step of the plugin failed.
    #[error("`{step}` failed: {message} [{code}]")]
    Life {
        /// The step.
        step: Step,
        /// The plugin's error code; `panicked` for a panic.
        code: String,
        /// The message of the plugin's error or of the panic.
        message: String,
        /// The details of the plugin's error as JSON, or an empty text; for a panic, its location.
        details: String,
    },
    /// The request is not allowed after the preceding requests.
    #[error("`{request}` is out of turn: {reason}")]
    OutOfTurn {
        /// The request.
        request: String,
        /// The missing precondition.
        reason: String,
    },
    /// The shim itself failed.
    #[error("the shim failed: {message}")]
    Broken {
        /// What failed.
        message: String,
    },
}

replug_model::readable::readable!(Failure);

/// A report of the plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// An event of the plugin's log.
    Log {
        /// The level of the event, from 1 for an error to 5 for a trace.
        level: Level,
        /// The event's target.
        target: String,
        /// The event's message.
        message: String,
        /// The event's other fields, a JSON object.
        fields: String,
        /// The spans around the event, a JSON array.
        spans: String,
    },
    /// A panic in the plugin, before it unwinds.
    Panic {
        /// The panic's message.
        message: String,
        /// `file:line:column`
        location: String,
        /// The thread.
        thread: String,
        /// The backtrace, or empty.
        backtrace: String,
    },
}

impl Report {
    /// The maximum size of one text in a report on the wire, in bytes.
    pub const MAX_TEXT: usize = 256 << 10;

    /// Shortens each text to at most [`Report::MAX_TEXT`] bytes, so that a report of the plugin has a bounded size.
    #[must_use]
    pub fn cut_short(mut self) -> Self {
        let cut_text = |it: &mut String| text::cut(it, Self::MAX_TEXT);
        match &mut self {
            Self::Log { target, message, fields, spans, .. } => {
                [target, message].into_iter().for_each(cut_text);
                // A truncated JSON text is useless.
                for (json, empty) in [(fields, "{}"), (spans, "[]")] {
                    if json.len() > Self::MAX_TEXT {
                        *json = empty.into();
                    }
                }
            }
            Self::Panic { message, location, thread, backtrace } => {
                [message, location, thread, backtrace].into_iter().for_each(cut_text);
            }
        }
        self
    }
}

/// A message that is the payload of one frame.
pub trait Message: Serialize + DeserializeOwned {
    /// The name of the message in errors.
    const WHAT: &'static str;

    /// Encodes the message.
    ///
    /// # Errors
    ///
    /// * [`WireError::Unwritable`]
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        postcard::to_stdvec(self)
            .map_err(|error| WireError::Unwritable { what: Self::WHAT, reason: error.to_string() })
    }

    /// Decodes a message. All bytes must belong to it.
    ///
    /// # Errors
    ///
    /// * [`WireError::Garbled`]
    fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let garbled = |reason| WireError::Garbled { what: Self::WHAT, reason };
        match postcard::take_from_bytes(payload) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(garbled(format!("{} trailing bytes", rest.len()))),
            Err(error) => Err(garbled(error.to_string())),
        }
    }
}

impl Message for Hello {
    const WHAT: &'static str = "a greeting";

    /// Decodes a `Hello` and ignores trailing bytes: a later version of the protocol may add fields, and the receiver
    /// must still be able to read the version number.
    fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let greeting = postcard::take_from_bytes(payload);
        greeting
            .map(|(hello, _)| hello)
            .map_err(|error| WireError::Garbled { what: Self::WHAT, reason: error.to_string() })
    }
}

impl Message for Request {
    const WHAT: &'static str = "a request";
}

impl Message for Command {
    const WHAT: &'static str = "a command";
}

impl Message for Reply {
    const WHAT: &'static str = "a reply";
}

impl Message for Report {
    const WHAT: &'static str = "a report";
}

/// See [`super::read_anything`].
pub(super) fn read_anything(bytes: &[u8]) {
    let _ = Hello::decode(bytes);
    let _ = Request::decode(bytes);
    let _ = Command::decode(bytes);
    let _ = Reply::decode(bytes);
    let _ = Report::decode(bytes);
}
