//! The control plane: clients control the running host, over a Unix socket or over HTTP.
//!
//! # Theory of operation
//!
//! ```text
//!  replug status, reload, ...        curl, scripts, the page
//!        | HTTP over the Unix socket      | HTTP(S) over TCP
//!        v                                v
//!  http/listen/         a bounded pool of connections, each with who is at its other end
//!  http/guard.rs        may they ask? (peer, Host, Origin, token; before a byte of the body is read)
//!  http/routes/         the paths of the commands, and one file for each other group: parses the request to one Command
//!  command/execute.rs   the one executor: Command -> Answer. Everything is done by the Host
//!  http/envelope.rs     the answer or the error, in the form that all have
//! ```
//!
//! * `command/` defines the requests and executes them. It does not depend on HTTP, so that another transport can use
//!   the same executor. `http/` is the transport by sockets.
//! * [`Command`] is every possible request. Each command is declared once; its name, path and HTTP method, its possible
//!   failures, and its place in the audit and in spans follow from that. HTTP and the command line only parse into it.
//! * Both listeners speak the same HTTP. Over the socket, the kernel identifies the client, so that no token is needed.
//! * `command/recent.rs` keeps the last events in rings, with numbers. Streams read from them at their own pace, can
//!   continue after a disconnection, and are informed of what they missed. No reader makes the host wait.
//! * A call runs on a thread of its own that may block. The number of such calls is limited, and each has a deadline.
//! * `command/audit.rs` reports who has changed what; `http/span.rs` gives each request its span.
//! * `http/page/` is the page that a browser gets at `/`: static files, which request all that they show like any other
//!   client.
//!
//! **Architecture Invariant:** nothing here keeps the host alive ([`Host`](replug_engine::Host) is held weakly), and no
//! request does anything that the library's public API could not do.
//!
//! `docs/HTTP.md` describes all of it for clients. A program [attaches](replug_engine::HostBuilder::attach) it to its
//! host:
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
    Answer, CallFailure, Command, Who, answer,
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
