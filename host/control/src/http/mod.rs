//! HTTP over a Unix socket, and over TCP for clients that have the token.

mod caller;
pub(crate) mod config;
pub(crate) mod envelope;
mod guard;
pub(crate) mod listen;
mod openapi;
mod routes;
mod span;
mod sse;
mod token;

use super::command::{self, error, execute, filter, recent, schema};
use execute::Executor;
use guard::TcpChecks;
use recent::Recent;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The state that all requests share.
struct App {
    executor: Arc<Executor>,
    recent: Arc<Recent>,
    /// The checks for TCP, or `None` if there is no TCP listener.
    checks: Option<TcpChecks>,
    /// The permits for further streams.
    streams: Arc<Semaphore>,
}
