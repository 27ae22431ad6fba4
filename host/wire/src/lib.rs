//! The protocol between a replug host and the child process that runs a plugin for it, without either process.
//!
//! What this crate promises:
//!
//! * **Nothing that is read is trusted.** A length is checked before it is believed, memory grows with the bytes that came
//!   and not with those that were announced, and every error is a value: the peer may be a plugin that has gone wild.
//! * It opens nothing and starts nothing: it works on streams and descriptors that it is given.
//! * A peer that says nothing is given up at a deadline, where there is one.
//!
//! It imports `replug-model` alone of the host's crates: who reads configuration, builds or loads is no matter of the
//! protocol. `docs/PROTOCOL.md` is the whole of it for a reader who does not read Rust; `fuzz/` looks for bytes that
//! this crate cannot bear.
//!
//! | module | what is in it |
//! |---|---|
//! | `frame.rs` | [`Channel`]: frames over any stream |
//! | `timed.rs` | [`Timed`]: a stream that is given up at a deadline |
//! | `descriptors.rs` | descriptors that come along with bytes |
//! | `message.rs` | what is in the frames, but for calls |
//! | `call.rs` | how a call and its answer are packed |
//! | `client.rs` | the host's end: [`Control`], [`Service`], [`Lane`] and [`Reports`]; the other is the child process's |
//! | `error.rs` | what can go wrong on the way |

#![forbid(unsafe_code)]

mod call;
mod client;
mod descriptors;
mod error;
mod frame;
mod message;
#[cfg(test)]
mod tests;
mod timed;

pub use call::{Answer, AnswerBody, Call};
pub use client::{Control, ControlError, Greeting, Lane, Reports, Service};
pub use descriptors::{Giving, Taking};
pub use error::WireError;
pub use frame::{Channel, Frame, Kind, MAX_FRAME, RequestId};
pub use message::{
    Create, Described, Failure, Health, Hello, LaneId, Level, Load, Loaded, Message, Order, Reply, Report,
    Request, State,
};
pub use timed::Timed;

pub use replug_model::limits::Limits;

pub use replug_api::abi::Encoding;

/// The version of this protocol. Host and shim must agree on it.
pub const PROTOCOL: u32 = 3;

/// The first argument of a process that is to be a shim. The second is the number of the host's process.
///
/// An argument and not a variable, because what the plugin starts inherits variables.
pub const SHIM_MARKER: &str = "__replug-shim";

/// The third argument of a shim that keeps the capabilities of its host: one in which a version is tried that is to run in
/// the host's own process.
pub const SHIM_KEEPS_CAPABILITIES: &str = "keep-capabilities";

/// Reads bytes as whatever they may be, for the fuzzer and for the test that replays what it found.
///
/// The stream is read as frames, and the payload of each as every kind of message; nothing may panic, and nothing may
/// take more memory than a small multiple of `bytes`.
#[doc(hidden)]
pub fn read_anything(bytes: &[u8]) {
    let mut channel = Channel::new(std::io::Cursor::new(bytes.to_vec()));
    while let Ok(frame) = channel.receive() {
        message::read_anything(frame.payload);
        let _ = Call::decode(frame.payload);
        let _ = Answer::decode(frame.payload);
    }
    message::read_anything(bytes);
    let _ = Call::decode(bytes);
    let _ = Answer::decode(bytes);
}
