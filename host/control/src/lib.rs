//! Whoever talks to the running host: over a Unix socket, or over HTTP.
//!
//! # Theory of operation
//!
//! ```text
//!  replug status, reload, ...        curl, scripts, the page
//!        | HTTP over the Unix socket      | HTTP(S) over TCP
//!        v                                v
//!  http/listen/         a bounded pool of connections, each with who is at its other end
//!  http/guard.rs        may they ask? (peer, Host, Origin, token; before a byte of the body is read)
//!  http/routes/         one file for each group of paths: parses the request, to the payload of one Command
//!  command/execute.rs   the one executor: Command -> Answer. Everything is done by the Host
//!  http/envelope.rs     the answer or the error, in the form that all have
//! ```
//!
//! * `command/` is what can be asked, and does it; it knows no HTTP, so that another way to ask needs no other executor.
//!   `http/` is the way by sockets.
//! * [`Command`] is everything that can be asked. HTTP and the command line only parse into it.
//! * Both listeners speak the same HTTP. Over the socket the kernel says who asks, so that no token is needed.
//! * `command/recent.rs` keeps the last events in rings, with numbers. Streams read from them at their own pace, can go on where
//!   they were cut off, and are told what they missed; nobody makes the host wait.
//! * A call runs on a thread of its own that may block; there is a bound on how many do, and a deadline.
//! * `command/audit.rs` tells who had what changed; `http/span.rs` gives each request its span.
//! * `http/page/` is what a browser gets at `/`: files that ask for all they show as anyone else does.
//!
//! **Architecture Invariant:** nothing here keeps the host alive ([`Host`](replug_engine::Host) is held weakly), and no request
//! does anything that the library's public API could not do.
//!
//! `docs/HTTP.md` says all of it from the outside. A program [attaches](replug_engine::HostBuilder::attach) it to its host:
//!
//! ```no_run
//! use replug_control::{Control, ControlConfig};
//! use replug_engine::Host;
//!
//! let control = Control::new(ControlConfig::new());
//! let listening = control.listening();
//! let host = Host::builder().plugins("plugins").attach(control).build().wait()?;
//! println!("listening on {:?}", listening.socket());
//! # Ok::<(), replug_engine::HostError>(())
//! ```

#![forbid(unsafe_code)]

pub mod command;
mod http;

pub use command::{
    Command, Who,
    answer::{self, Answer},
    error::{Code, ControlError},
};
pub use http::{
    config::{ControlConfig, HttpConfig, ListenError},
    envelope::{Envelope, ErrorBody},
    listen::{
        Control, FoundHost, Listening, TokenFile, distrust, find_socket, hosts_around, other_owner,
        socket_path,
    },
};
