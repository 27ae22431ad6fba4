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
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
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
    /// Whether a part of an answer that has ended may still have to be written to the client.
    is_sending: AtomicBool,
    /// When the last answer ended, or the client last read a part of it for which the host was waiting. In milliseconds
    /// since the connection was opened. 0 if no answer has ended.
    quiet_since: AtomicU64,
    /// The simulated time that has passed, in milliseconds.
    #[cfg(test)]
    skipped: AtomicU64,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// For the host to produce an answer.
    Answering,
    /// For the client to read an answer that is complete.
    Sending,
    /// For the client to send the head of a request.
    Idle,
}

impl Connection {
    pub(super) fn new(who: Who, local: Option<IpAddr>) -> Arc<Self> {
        let origin = match who {
            Who::Process { pid, .. } => origin_of(pid),
            Who::Remote(_) | Who::Program => Ok(Origin::Elsewhere),
        };
        Arc::new(Self {
            who,
            origin,
            local,
            opened: Instant::now(),
            busy: AtomicUsize::new(0),
            is_sending: AtomicBool::new(false),
            quiet_since: AtomicU64::new(0),
            #[cfg(test)]
            skipped: AtomicU64::new(0),
        })
    }

    /// Records that an answer is in progress.
    pub(super) fn begins_answer(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    /// Records that an answer has ended. Its last part may still have to be written to the client.
    pub(super) fn ends_answer(&self) {
        self.makes_progress();
        self.is_sending.store(true, Ordering::Relaxed);
        // A thread that reads the new number also reads the new value of `is_sending`.
        self.busy.fetch_sub(1, Ordering::Release);
    }

    /// Records that the client has read a part of an answer for which the host was waiting.
    pub(super) fn makes_progress(&self) {
        self.quiet_since.store(self.age_ms(), Ordering::Relaxed);
    }

    /// Records that no bytes have to be written to the client.
    pub(super) fn has_sent_all(&self) {
        self.is_sending.store(false, Ordering::Relaxed);
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.busy.load(Ordering::Acquire), self.is_sending.load(Ordering::Relaxed)) {
            (0, false) => Phase::Idle,
            (0, true) => Phase::Sending,
            _ => Phase::Answering,
        }
    }

    /// How long the client has neither sent a complete head of a request nor read a part of an answer for which the host
    /// was waiting. Only valid while no answer is in progress.
    pub(super) fn quiet_for(&self) -> Duration {
        let since = self.quiet_since.load(Ordering::Relaxed);
        Duration::from_millis(self.age_ms().saturating_sub(since))
    }

    fn age_ms(&self) -> u64 {
        let age = self.opened.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
        #[cfg(test)]
        let age = age + self.skipped.load(Ordering::Relaxed);
        age
    }

    /// Simulates that this time has passed.
    #[cfg(test)]
    pub(super) fn skip(&self, time: Duration) {
        self.skipped.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
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
