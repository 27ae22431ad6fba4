//! Whoever talks to the running host: over a Unix socket, or over HTTP.
//!
//! # Theory of operation
//!
//! ```text
//!  replug status, reload, ...        curl, scripts, the page
//!        | HTTP over the Unix socket      | HTTP(S) over TCP
//!        v                                v
//!  listen/   a bounded pool of connections, each with who is at its other end
//!  guard.rs  may they ask? (peer, Host, Origin, token; before a byte of the body is read)
//!  routes/   one file for each group of paths: parses the request, to the payload of one Command
//!  execute.rs  the one executor: Command -> Answer. Everything is done by the Host
//!  envelope.rs  the answer or the error, in the form that all have
//! ```
//!
//! * [`Command`] is everything that can be asked. HTTP and the command line only parse into it.
//! * Both listeners speak the same HTTP. Over the socket the kernel says who asks, so that no token is needed.
//! * `recent.rs` keeps the last events in rings, with numbers. Streams read from them at their own pace, can go on where
//!   they were cut off, and are told what they missed; nobody makes the host wait.
//! * A call runs on a thread of its own that may block; there is a bound on how many do, and a deadline.
//! * `audit.rs` tells who had what changed; `span.rs` gives each request its span.
//! * `page/` is what a browser gets at `/`: files that ask for all they show as anyone else does.
//!
//! **Architecture Invariant:** nothing here keeps the host alive ([`Host`](crate::Host) is held weakly), and no request
//! does anything that the library's public API could not do.
//!
//! `docs/HTTP.md` says all of it from the outside. A program [attaches](crate::HostBuilder::attach) it to its host:
//!
//! ```no_run
//! use replug::{Host, control::{Control, ControlConfig}};
//!
//! let control = Control::new(ControlConfig::new());
//! let listening = control.listening();
//! let host = Host::builder().plugins("plugins").attach(control).build().wait()?;
//! println!("listening on {:?}", listening.socket());
//! # Ok::<(), replug::HostError>(())
//! ```

pub mod answer;
mod audit;
mod calls;
pub mod command;
mod config;
mod envelope;
mod error;
mod execute;
mod filter;
mod guard;
mod listen;
mod openapi;
mod recent;
mod routes;
mod schema;
mod span;
mod sse;
mod token;

pub use answer::Answer;
pub use command::Command;
pub use config::{ControlConfig, HttpConfig, ListenError};
pub use envelope::{Envelope, ErrorBody};
pub use error::{Code, ControlError};
pub use guard::Who;
pub use listen::{
    Control, FoundHost, Listening, TokenFile, distrust, find_socket, hosts_around, other_owner, socket_path,
};

use crate::WeakHost;
use audit::Audit;
use calls::Calls;
use guard::Gate;
use recent::Recent;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What all requests share.
struct App {
    host: WeakHost,
    audit: Audit,
    recent: Arc<Recent>,
    /// Who may ask over TCP; none if nobody can.
    gate: Option<Gate>,
    /// Where calls run.
    calls: Arc<Calls>,
    /// The calls that may yet begin.
    places: Arc<Semaphore>,
    call_deadline: Duration,
    /// The streams that may yet be read.
    streams: Arc<Semaphore>,
}
