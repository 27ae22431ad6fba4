//! The control plane, through which clients control a running host over a Unix socket or over TCP.
//!
//! # Theory of operation
//!
//! ```text
//!  replug status, reload, ...        curl, scripts, the page
//!        | HTTP over the Unix socket      | HTTP(S) over TCP
//!        v                                v
//!  http/listen/         accepts connections up to a limit, and identifies their clients
//!  http/guard.rs        authorizes each request (user, Host, Origin, token) before any byte of the body is read
//!  http/routes/         routes each request by its path, and parses it into a Command
//!  command/execute.rs   executes the Command on the Host, and returns an Answer
//!  http/envelope.rs     writes the answer or the error in the common format
//! ```
//!
//! * `command/` defines the requests and executes them. It does not depend on HTTP, so another transport can use the
//!   same executor. `http/` is the transport over sockets.
//! * A [`Command`] is a request. Each command is declared once. Its name, path, HTTP method and possible failures, and
//!   its name in the audit and in spans are generated from this declaration. HTTP and the command line only translate
//!   their input into commands.
//! * Both listeners speak the same HTTP. Over the socket, the kernel identifies the client, so no token is needed.
//! * `command/recent.rs` keeps the last events, with numbers, in ring buffers. A stream reads from them at its own
//!   speed, can continue after a disconnection, and reports how many events the reader has missed. No reader blocks the
//!   host.
//! * A call runs on a thread that may block. A blocked call delays other calls by a few milliseconds at most, if a
//!   processor is free and a thread can be started. The number of concurrent calls is limited, and each call has a
//!   deadline.
//! * `command/audit.rs` reports which client has changed what. `http/span.rs` makes a span for each request.
//! * `http/page/` is the page that a browser gets at `/`: static files, whose scripts request data like any other
//!   client.
//!
//! **Architecture invariants:** The control plane does not keep the host alive, because it holds only weak references
//! to the [`Host`](replug_engine::Host). Every request uses only the public API of the engine.
//!
//! `docs/HTTP.md` and the pages in `docs/http` describe the control plane for clients. A program
//! [attaches](replug_engine::HostBuilder::attach) it to its host:
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
        Control, FoundHost, Listening, TokenFile, find_socket, host_is_coming, hosts_around, other_owner,
        socket_path, trust_problem,
    },
};
