//! The encoding of a call of a method and of its answer on a lane: a few bytes, followed by the caller's arguments or
//! the plugin's result.
//!
//! This module neither interprets arguments and results nor copies them into an outer message.

use super::WireError;
use replug_api::abi::Encoding;

/// The number of bytes before the arguments: interface, method and encoding.
const CALL_HEAD: usize = 7;

/// A call of a method, with encoded arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The index of the interface in [`Loaded::interfaces`](super::Loaded::interfaces).
    pub interface: u16,
    /// The index of the method in the interface's description.
    pub method: u32,
    /// The encoding of the arguments and of the result.
    pub encoding: Encoding,
    /// The arguments.
    pub arguments: &'a [u8],
}

impl<'a> Call<'a> {
    /// The bytes that precede the arguments.
    pub fn head(&self) -> [u8; CALL_HEAD] {
        let mut head = [0; CALL_HEAD];
        head[..2].copy_from_slice(&self.interface.to_le_bytes());
        head[2..6].copy_from_slice(&self.method.to_le_bytes());
        head[6] = match self.encoding {
            Encoding::Json => 0,
            Encoding::Binary => 1,
        };
        head
    }

    /// Decodes a payload.
    ///
    /// # Errors
    ///
    /// * [`WireError::Garbled`] if the payload is too short, or names an unknown encoding.
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        let garbled = |reason: String| WireError::Garbled { what: "a call", reason };
        let short = || garbled(format!("{} bytes are too few", payload.len()));
        let (interface, rest) = payload.split_first_chunk().ok_or_else(short)?;
        let (method, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (encoding, arguments) = rest.split_first().ok_or_else(short)?;
        let encoding = match encoding {
            0 => Encoding::Json,
            1 => Encoding::Binary,
            other => return Err(garbled(format!("unknown encoding {other}"))),
        };
        let (interface, method) = (u16::from_le_bytes(*interface), u32::from_le_bytes(*method));
        Ok(Self { interface, method, encoding, arguments })
    }
}

/// The outcome of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The method returned this value, in the encoding of the call.
    Returned(&'a [u8]),
    /// The method returned this error, a value of its own error type, in the encoding of the call.
    Refused(&'a [u8]),
    /// The arguments do not fit the method; the text is the reason.
    BadArguments(&'a str),
    /// The result could not be encoded, or is too large for a frame; the text is the reason.
    BadResult(&'a str),
    /// The method panicked, and the panic was caught.
    Panicked {
        /// `file:line:column`, or empty.
        location: &'a str,
        /// The panic's message.
        message: &'a str,
    },
    /// The plugin has no such interface or method.
    NoSuchMethod,
    /// The plugin has no instance: none was created yet, or it was dropped.
    NotRunning,
    /// The shim itself failed; the text is the reason.
    Broken(&'a str),
}

impl<'a> Answer<'a> {
    /// Encodes the answer: its first byte, and the rest.
    pub fn encode(&self) -> (u8, AnswerBody<'a>) {
        match *self {
            Self::Returned(bytes) => (0, AnswerBody::Plain(bytes)),
            Self::Refused(bytes) => (1, AnswerBody::Plain(bytes)),
            Self::BadArguments(text) => (2, AnswerBody::Plain(text.as_bytes())),
            Self::BadResult(text) => (3, AnswerBody::Plain(text.as_bytes())),
            // A location has no line break, so a line break separates it from the message.
            Self::Panicked { location, message } => (4, AnswerBody::Joined(format!("{location}\n{message}"))),
            Self::NoSuchMethod => (5, AnswerBody::Plain(&[])),
            Self::NotRunning => (6, AnswerBody::Plain(&[])),
            Self::Broken(text) => (7, AnswerBody::Plain(text.as_bytes())),
        }
    }

    /// Decodes a payload.
    ///
    /// # Errors
    ///
    /// * [`WireError::Garbled`] if the payload is empty, its outcome is unknown, or a text is not UTF-8.
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        let garbled = |reason: String| WireError::Garbled { what: "an answer", reason };
        let (outcome, rest) = payload.split_first().ok_or_else(|| garbled("it is empty".into()))?;
        let text = || std::str::from_utf8(rest).map_err(|error| garbled(error.to_string()));
        Ok(match outcome {
            0 => Self::Returned(rest),
            1 => Self::Refused(rest),
            2 => Self::BadArguments(text()?),
            3 => Self::BadResult(text()?),
            4 => {
                let (location, message) =
                    text()?.split_once('\n').ok_or_else(|| garbled("a panic has no location".into()))?;
                Self::Panicked { location, message }
            }
            5 => Self::NoSuchMethod,
            6 => Self::NotRunning,
            7 => Self::Broken(text()?),
            other => return Err(garbled(format!("unknown outcome {other}"))),
        })
    }
}

/// The part of an answer after its first byte.
pub enum AnswerBody<'a> {
    /// Bytes that are sent as they are.
    Plain(&'a [u8]),
    /// A text that was joined from several texts.
    Joined(String),
}

impl AnswerBody<'_> {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Joined(text) => text.as_bytes(),
        }
    }
}
