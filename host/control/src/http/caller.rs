//! The facts about the client of a connection and of a request.

use super::{
    command::Who,
    error::{Code, ControlError},
};
use axum::{extract::FromRequestParts, http::request::Parts};
use replug_runtime::lineage::{self, Origin};
use rustix::process::Pid;
use std::{
    io,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// The client of a request, and the id of the request.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) who: Who,
    pub(super) request_id: String,
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ControlError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ControlError> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| {
            ControlError::new(Code::Bug, "internal error: the request has bypassed authentication")
        })
    }
}

/// The client of a connection, and whether the connection is in use.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) who: Who,
    /// Whether the process that connected is a plugin's process, or was started by a plugin. An error if this cannot be
    /// determined.
    pub(super) origin: io::Result<Origin>,
    /// The address of this host to which the client connected.
    pub(super) local: Option<IpAddr>,
    opened: Instant,
    /// How many answers are in progress.
    busy: AtomicUsize,
    /// When the last answer ended, in milliseconds since the connection was opened. 0 if none has ended.
    quiet_since: AtomicU64,
}

impl Connection {
    pub(super) fn new(who: Who, local: Option<IpAddr>) -> Arc<Self> {
        let origin = match who {
            Who::Process { pid, .. } => origin_of(pid),
            Who::Remote(_) | Who::Program => Ok(Origin::Elsewhere),
        };
        let (busy, quiet_since) = (AtomicUsize::new(0), AtomicU64::new(0));
        Arc::new(Self { who, origin, local, opened: Instant::now(), busy, quiet_since })
    }

    /// Records that an answer is in progress.
    pub(super) fn begins_answer(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that an answer has ended.
    pub(super) fn ends_answer(&self) {
        self.quiet_since.store(self.age_ms(), Ordering::Relaxed);
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// How long the client has sent no complete head of a request. `None` while an answer is in progress.
    pub(super) fn quiet_for(&self) -> Option<Duration> {
        let since = self.quiet_since.load(Ordering::Relaxed);
        self.is_idle().then(|| Duration::from_millis(self.age_ms().saturating_sub(since)))
    }

    fn age_ms(&self) -> u64 {
        self.opened.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

/// Whether the process with this pid is a plugin's process, or was started by a plugin. A client without a pid runs in
/// a pid namespace that is not visible from this process. No descendant of this process runs in such a namespace, so
/// the client does not come from a plugin.
fn origin_of(pid: Option<i32>) -> io::Result<Origin> {
    match pid.and_then(Pid::from_raw) {
        Some(pid) => lineage::origin(pid),
        None => Ok(Origin::Elsewhere),
    }
}
