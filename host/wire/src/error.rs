//! Errors of a connection between host and shim.

use super::{Kind, PROTOCOL, RequestId};
use std::io;

/// An error of a connection. After an error, the connection is out of sync and must be closed, with two exceptions.
/// After a [`WireError::TooLarge`] on sending, nothing was sent. After a [`WireError::TimedOut`] on receiving, the
/// caller may continue to receive.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The peer has exited, or has closed the connection between two frames.
    #[error("the peer has closed the connection")]
    Closed,
    /// The peer has exited, and has not read everything that was sent to it.
    #[error("the peer has closed the connection and has not read everything that was sent")]
    Unread,
    /// The peer has closed the connection within a frame.
    #[error("the connection ended within a frame: {missing} bytes of it are missing")]
    Truncated {
        /// The minimum number of missing bytes.
        missing: usize,
    },
    /// A frame is longer than this end allows.
    #[error("a frame of {len} bytes exceeds the limit of {max} bytes; pass less at once")]
    TooLarge {
        /// The length of the frame, not counting its length field.
        len: u64,
        /// The limit.
        max: u32,
    },
    /// A frame's length is shorter than its header.
    #[error("a frame has a length of {len} bytes, less than its header; this is not a replug stream")]
    TooShort {
        /// The value of the length field.
        len: u32,
    },
    /// A frame of an unknown kind.
    #[error("a frame has the unknown kind {0}; this is not a replug stream")]
    UnknownKind(u8),
    /// A frame of an unexpected kind.
    #[error("expected a frame of kind {wanted:?}, got {got:?}")]
    UnexpectedKind {
        /// The expected kind.
        wanted: Kind,
        /// The kind of the frame.
        got: Kind,
    },
    /// A reply to another request.
    #[error("expected the reply to request {asked}, got the reply to {answered}")]
    OtherRequest {
        /// The request that was sent.
        asked: RequestId,
        /// The request that was answered.
        answered: RequestId,
    },
    /// A reply of a type that does not belong to the request.
    #[error("the reply to `{request}` has the wrong type")]
    OtherReply {
        /// The request.
        request: &'static str,
    },
    /// A payload that cannot be decoded.
    #[error("cannot decode a payload as {what}: {reason}")]
    Garbled {
        /// The expected type.
        what: &'static str,
        /// Why decoding failed.
        reason: String,
    },
    /// A message that cannot be encoded.
    #[error("cannot encode {what}: {reason}")]
    Unwritable {
        /// The message.
        what: &'static str,
        /// Why encoding failed.
        reason: String,
    },
    /// The peer uses another version of the protocol.
    #[error(
        "the peer uses version {theirs} of the protocol (replug-api {api}), and this process uses version {PROTOCOL}; run both from the same build"
    )]
    OtherProtocol {
        /// The peer's version of the protocol.
        theirs: u32,
        /// The peer's version of `replug-api`.
        api: String,
    },
    /// A message arrived without its descriptor.
    #[error("`{0}` arrived without its descriptor")]
    NoDescriptor(&'static str),
    /// The deadline of the stream has passed.
    #[error("no answer arrived before the deadline")]
    TimedOut,
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[source] io::Error),
}

replug_model::readable::readable!(WireError);

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut, WouldBlock};
        match error.kind() {
            BrokenPipe => Self::Closed,
            // The kernel reports this error only if the peer has closed its Unix socket before it had read all received
            // data.
            ConnectionReset => Self::Unread,
            // The error of a socket whose timeout has passed.
            WouldBlock | TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}
