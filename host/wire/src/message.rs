//! What host and shim say to each other, apart from calls: written as postcard, one message to a frame.
//!
//! A new field or variant is a new [`PROTOCOL`](super::PROTOCOL), with one exception: [`Hello`] keeps its form for ever,
//! so that two versions can at least say that they differ.

use super::{Limits, RequestId, WireError};
use replug_model::{
    id::{Generation, PluginId},
    step::Step,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::path::PathBuf;

/// The first message each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`](super::PROTOCOL) of the speaker.
    pub protocol: u32,
    /// The speaker's version of `replug-api`, for the message if they differ.
    pub api: String,
}

impl Hello {
    /// What this end says.
    pub fn own() -> Self {
        Self { protocol: super::PROTOCOL, api: env!("CARGO_PKG_VERSION").into() }
    }

    /// Makes sure that the other end can be talked to.
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

/// What the host asks for. The shim does one after the other, in the order in which they come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Sets the limits, then opens the library and checks it: [`Reply::Loaded`].
    Load(Load),
    /// Makes the instance: `Plugin::init`.
    Create(Create),
    /// `Plugin::start`
    Start,
    /// `Plugin::stop`
    Stop,
    /// `Plugin::health`: [`Reply::Health`].
    Health,
    /// `Plugin::on_config`
    Configure {
        /// The new `[config]` as JSON.
        config: String,
    },
    /// `Plugin::save`: [`Reply::Saved`].
    Save,
    /// `Plugin::restore`
    Restore {
        /// `Plugin::STATE_VERSION` of the one that saved.
        from_version: u32,
        /// What it saved.
        state: State,
    },
    /// Drops the instance once the calls in it have ended.
    Destroy,
    /// Ends the shim, after the reply.
    Exit,
}

impl Request {
    /// What it is called in messages.
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

/// What the host wants at once, whatever step runs meanwhile. There is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Serves calls on the connection whose descriptor comes along.
    OpenLane(LaneId),
    /// Tells the call that it is no longer waited for. One that has ended, and a lane that is gone, are passed over.
    Cancel {
        /// The lane that it came over.
        lane: LaneId,
        /// The call.
        call: RequestId,
    },
    /// Sets the most verbose level that the host wants of the plugin's log.
    SetMaxLevel(Level),
}

/// The number of a lane, never reused by a host for one shim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LaneId(pub u64);

/// Which library to open, and in what bounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// A private copy of the artifact. Opened by this name, so that debuggers and backtraces find it.
    pub path: PathBuf,
    /// The standard library that it links, if that is a shared one.
    pub shared_std: Option<PathBuf>,
    /// What the process may use, from before the first line of the plugin's runs.
    pub limits: Limits,
}

/// What an instance is told when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Create {
    /// The plugin's id.
    pub id: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// A folder of the plugin's own.
    pub data_dir: PathBuf,
    /// `[config]` of the manifest as JSON.
    pub config: String,
    /// Whether the instance is tried and thrown away.
    pub trial: bool,
    /// The most verbose level that the host wants of the plugin's log.
    pub max_level: Level,
}

/// The most verbose level of a log: 0 for none, 1 for errors, to 5 for traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Level(pub u8);

/// What a plugin has saved. Written as a run of bytes.
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

/// What the shim answers to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Done,
    /// The library is open, and fits.
    Loaded(Loaded),
    /// How well the plugin says it is.
    Health(Health),
    /// What the plugin has saved.
    Saved(State),
    /// It was not done. Everything is as it was before.
    Failed(Failure),
}

/// What a library says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// The version of `replug-api` that the plugin was built with.
    pub api_version: String,
    /// The plugin's package name.
    pub package: String,
    /// The plugin's package version.
    pub version: String,
    /// Whether it has state to hand over.
    pub stateful: bool,
    /// `Plugin::STATE_VERSION`
    pub state_version: u32,
    /// Whether a panic in it unwinds. Otherwise, one ends the process.
    pub panic_unwinds: bool,
    /// What it implements, in the order of `export!`, which is how a [`Call`](super::Call) counts them.
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

/// How well a plugin says it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it can do its work.
    pub healthy: bool,
    /// Why, for people; may be empty.
    pub message: String,
}

/// Why a [`Request`] was not done.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Failure {
    /// A limit could not be set.
    #[error("the limit on {what} cannot be set to {value}: {reason}")]
    Limit {
        /// The resource.
        what: String,
        /// What was asked for.
        value: u64,
        /// What the kernel says.
        reason: String,
    },
    /// The library was refused.
    #[error("{message}")]
    Load {
        /// Why, and what to do.
        message: String,
    },
    /// A step of the plugin's life went wrong.
    #[error("`{step}` failed: {message} [{code}]")]
    Life {
        /// The step.
        step: Step,
        /// The plugin's code for it; `panicked` for a panic.
        code: String,
        /// What the plugin says; for a panic its message.
        message: String,
        /// JSON, or empty; for a panic the location.
        details: String,
    },
    /// The request does not fit what came before it.
    #[error("`{request}` is out of turn: {reason}")]
    OutOfTurn {
        /// The request.
        request: String,
        /// What it would have needed.
        reason: String,
    },
    /// The shim itself failed.
    #[error("the shim failed: {message}")]
    Broken {
        /// How.
        message: String,
    },
}

replug_model::readable::readable!(Failure);

/// What a plugin says unasked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// An event of its log.
    Log {
        /// 1 for an error to 5 for a trace.
        level: Level,
        /// The event's target.
        target: String,
        /// Its message.
        message: String,
        /// Its other fields, a JSON object.
        fields: String,
        /// The spans around it, a JSON array.
        spans: String,
    },
    /// A panic, before it unwinds.
    Panic {
        /// Its message.
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
    /// The most bytes of one text in a report that goes over the wire.
    pub const MAX_TEXT: usize = 256 << 10;

    /// The report with texts of at most [`Report::MAX_TEXT`] bytes, so that a plugin cannot choke the wire.
    #[must_use]
    pub fn cut_short(mut self) -> Self {
        match &mut self {
            Self::Log { target, message, fields, spans, .. } => {
                [target, message].into_iter().for_each(cut);
                // Half a JSON text says nothing.
                for (json, empty) in [(fields, "{}"), (spans, "[]")] {
                    if json.len() > Self::MAX_TEXT {
                        *json = empty.into();
                    }
                }
            }
            Self::Panic { message, location, thread, backtrace } => {
                [message, location, thread, backtrace].into_iter().for_each(cut);
            }
        }
        self
    }
}

fn cut(text: &mut String) {
    if text.len() > Report::MAX_TEXT {
        let end = (0..=Report::MAX_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        let left_out = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("... ({left_out} bytes left out)"));
    }
}

/// A message that has a frame to itself.
pub trait Message: Serialize + DeserializeOwned {
    /// What it is called in errors.
    const WHAT: &'static str;

    /// The bytes that say it.
    ///
    /// # Errors
    ///
    /// * [`WireError::Unwritable`]
    fn encode(&self) -> Result<Vec<u8>, WireError> {
        postcard::to_stdvec(self)
            .map_err(|error| WireError::Unwritable { what: Self::WHAT, reason: error.to_string() })
    }

    /// What the bytes say, all of them.
    ///
    /// # Errors
    ///
    /// * [`WireError::Garbled`]
    fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let garbled = |reason| WireError::Garbled { what: Self::WHAT, reason };
        match postcard::take_from_bytes(payload) {
            Ok((message, [])) => Ok(message),
            Ok((_, rest)) => Err(garbled(format!("{} bytes are left over", rest.len()))),
            Err(error) => Err(garbled(error.to_string())),
        }
    }
}

impl Message for Hello {
    const WHAT: &'static str = "a greeting";

    /// What a later version adds to its greeting is left unread, for the sake of the version in it.
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

impl Message for Order {
    const WHAT: &'static str = "an order";
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
    let _ = Order::decode(bytes);
    let _ = Reply::decode(bytes);
    let _ = Report::decode(bytes);
}
