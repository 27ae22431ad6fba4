//! What can go wrong between two ends of the wire.

use super::{Kind, PROTOCOL, RequestId};
use std::io;

/// A conversation that cannot go on. The stream is out of step afterwards and must be given up.
///
/// [`WireError::TooLarge`] on sending is the exception: nothing was sent.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The other end is gone, or has hung up between two frames.
    #[error("the other end has closed the connection")]
    Closed,
    /// The other end is gone, and has not read all that was sent to it.
    #[error("the other end has closed the connection, and has not read all that was sent")]
    Unread,
    /// The other end has hung up within a frame.
    #[error("the connection ended within a frame: {missing} bytes of it are missing")]
    Truncated {
        /// At least so many.
        missing: usize,
    },
    /// A frame is longer than this end allows.
    #[error("a frame of {len} bytes is more than the {max} that are allowed: pass less at once")]
    TooLarge {
        /// What it says after its length.
        len: u64,
        /// What is allowed.
        max: u32,
    },
    /// A frame says that it is shorter than any frame can be.
    #[error("a frame says that it has {len} bytes, which is less than its header: this is no replug stream")]
    TooShort {
        /// What it says.
        len: u32,
    },
    /// A frame of no known kind.
    #[error("a frame is of kind {0}, which does not exist: this is no replug stream")]
    UnknownKind(u8),
    /// A frame of a kind that has no place here.
    #[error("a frame is {got:?} where {wanted:?} is due")]
    UnexpectedKind {
        /// What should have come.
        wanted: Kind,
        /// What came.
        got: Kind,
    },
    /// A reply to something else than was asked.
    #[error("the reply is to request {answered}, and request {asked} was asked")]
    OtherRequest {
        /// What was asked.
        asked: RequestId,
        /// What was answered.
        answered: RequestId,
    },
    /// A reply that no such request can have.
    #[error("the reply to `{request}` is one to another request")]
    OtherReply {
        /// The request.
        request: &'static str,
    },
    /// A payload that cannot be read.
    #[error("a payload cannot be read as {what}: {reason}")]
    Garbled {
        /// As what it was read.
        what: &'static str,
        /// Why it could not be.
        reason: String,
    },
    /// A message that cannot be written.
    #[error("{what} cannot be written: {reason}")]
    Unwritable {
        /// What.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The other end speaks another version.
    #[error(
        "the other end speaks version {theirs} of the protocol (replug-api {api}), and this one version {PROTOCOL}: run both from the same build"
    )]
    OtherProtocol {
        /// Its version.
        theirs: u32,
        /// Its version of `replug-api`.
        api: String,
    },
    /// A message came without the descriptor that belongs to it.
    #[error("`{0}` came without its descriptor")]
    NoDescriptor(&'static str),
    /// The deadline of the stream has passed.
    #[error("no answer came within the time allowed")]
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
            // What the kernel says of a Unix socket only if something was left unread in it.
            ConnectionReset => Self::Unread,
            // What a socket with a deadline says when it has passed.
            WouldBlock | TimedOut => Self::TimedOut,
            _ => Self::Io(error),
        }
    }
}
