//! The protocol between a replug host and a *shim*, the child process that runs a plugin. This crate starts neither
//! process.
//!
//! A shim has four kinds of connections to its host. The *control connection* carries requests, such as lifecycle
//! steps, and their replies. The *service connection* carries service commands, which the shim executes immediately.
//! A third connection carries the reports of the plugin. Each *lane* carries one call at a time, and its answer.
//!
//! This crate guarantees:
//!
//! * **No input is trusted.** The peer may be a malfunctioning plugin. The crate checks each length before use. Memory
//!   grows with the received bytes and not with the announced length. Invalid input is reported as an error value.
//! * The crate opens no file and starts no process: it works on streams and descriptors of its callers.
//! * If a deadline is set, the crate stops waiting for a silent peer at the deadline.
//!
//! Of the host's crates, this one imports only `replug-model`. It does not depend on configuration, builds or loading.
//! `docs/PROTOCOL.md` and `docs/protocol/lanes.md` describe the whole protocol for readers who do not read Rust; `fuzz/`
//! searches for bytes that break this crate.
//!
//! | file in `host/wire/src` | content |
//! |---|---|
//! | `frame.rs` | [`Channel`]: frames over any stream; [`Carrier`]: whatever carries frames |
//! | `header.rs` | the kind of a frame, and the number of its request |
//! | `timed.rs` | [`Timed`]: a stream with a deadline |
//! | `descriptors.rs` | descriptors that are sent along with bytes |
//! | `message.rs` | the content of frames, except calls |
//! | `call.rs` | the encoding of a call and its answer |
//! | `client.rs` | the host's end: [`ControlConnection`], [`Service`], [`Lane`] and [`Reports`]; the shim has the other end |
//! | `error.rs` | the errors |

#![forbid(unsafe_code)]

mod call;
mod client;
mod descriptors;
mod error;
mod frame;
mod header;
mod message;
#[cfg(test)]
mod tests;
mod timed;

pub use call::{Answer, AnswerBody, Call};
pub use client::{ControlConnection, Greeting, Lane, Reports, RequestError, Service};
pub use descriptors::{DescriptorReceiver, DescriptorSender};
pub use error::WireError;
pub use frame::{BELL, Carrier, Channel, Frame, MAX_FRAME};
pub use header::{Kind, RequestId};
pub use message::{
    Command, Create, Described, Failure, Health, Hello, LaneId, Level, Load, Loaded, Message, Reply, Report,
    Request, State,
};
pub use timed::Timed;

pub use replug_model::limits::Limits;

pub use replug_api::abi::Encoding;

/// The version of this protocol. Host and shim must agree on it.
pub const PROTOCOL: u32 = 4;

/// The first argument of a shim process. The second is the host's process id.
///
/// The marker is an argument and not an environment variable, because processes that the plugin starts inherit
/// variables.
pub const SHIM_MARKER: &str = "__replug-shim";

/// The third argument of a shim that keeps the capabilities of its host. Such a shim runs the trial of a version that
/// is going to run in the host's own process.
pub const SHIM_KEEPS_CAPABILITIES: &str = "keep-capabilities";

/// Decodes any bytes, for the fuzzer and for the test that replays its findings.
///
/// Reads the bytes as frames, and decodes the payload of each frame as every kind of message. No decoder may panic, or
/// use more memory than a small multiple of the length of `bytes`.
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
