//! The protocol between a host and the child process that runs a plugin for it, without either process.
//!
//! [`Channel`] carries frames over any stream, as over one that is [given up at a deadline](Timed); `message.rs` says what is
//! in them, `call.rs` how a call is packed; [`Control`], [`Service`], [`Lane`] and [`Reports`] are the host's end. The other
//! end is `shim/`. `docs/PROTOCOL.md` is the whole of it for a reader who does not read Rust.
//!
//! **Architecture Invariant:** nothing that is read is trusted. A length is checked before it is believed, memory grows
//! with the bytes that came and not with those that were announced, and every error is a value: the peer may be a
//! plugin that has gone wild.

mod call;
mod client;
mod descriptors;
mod error;
mod frame;
mod message;
#[cfg(test)]
mod tests;
mod timed;

pub use call::{Answer, Call};
pub use client::{Control, ControlError, Greeting, Lane, Reports, Service};
pub use descriptors::{Giving, Taking};
pub use error::WireError;
pub use frame::{Channel, Frame, Kind, MAX_FRAME, RequestId};
pub(crate) use message::Message;
pub use message::{
    Create, Described, Failure, Health, Hello, LaneId, Level, Load, Loaded, Order, Reply, Report, Request,
    State,
};
pub use timed::Timed;

pub use replug_model::limits::Limits;

pub use replug_api::abi::Encoding;

/// The version of this protocol. Host and shim must agree on it.
pub const PROTOCOL: u32 = 2;

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
