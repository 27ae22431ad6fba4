//! The way by HTTP: over a Unix socket, and over TCP for those who have the token.

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

use super::command::{self, answer, error, execute, filter, recent, schema};
use execute::Executor;
use guard::Gate;
use recent::Recent;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all requests share.
struct App {
    executor: Arc<Executor>,
    recent: Arc<Recent>,
    /// Who may ask over TCP; none if nobody can.
    gate: Option<Gate>,
    /// The streams that may yet be read.
    streams: Arc<Semaphore>,
}
