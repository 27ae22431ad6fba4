//! What callers do when nothing serves: wait for the hand-over to end, or hear why not.

use parking_lot::{Condvar, Mutex};
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Why a slot is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It is not, or is about to be filled.
    Open,
    /// The state is being handed over: new calls wait.
    Paused,
    /// Its process has ended and is started again: new calls wait.
    Restarting(Restart),
    /// No calls are taken; says why and what to do.
    Closed(String),
}

/// How a process is started again, for those who wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// How long new calls wait.
    pub(super) patience: Duration,
    /// When it is due, once that is known.
    pub(super) due: Option<Instant>,
}

impl fmt::Display for Restart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.due.map(|due| due.saturating_duration_since(Instant::now()));
        match left.filter(|left| !left.is_zero()) {
            Some(left) if left < Duration::from_secs(60) => {
                write!(f, "restarting in {:.1} s", left.as_secs_f64())
            }
            Some(left) => {
                write!(f, "restarting in {}", humantime::format_duration(Duration::from_secs(left.as_secs())))
            }
            None => f.write_str("restarting"),
        }
    }
}

/// The gate of one plugin, with those who wait before it.
#[derive(Debug)]
pub(super) struct GateKeeper {
    gate: Mutex<Gate>,
    moved: Condvar,
    /// How long a call may take, its waiting included, by the generation that served last.
    call_timeout: Mutex<Option<Duration>>,
}

impl GateKeeper {
    pub(super) fn closed(reason: &str) -> Self {
        let gate = Mutex::new(Gate::Closed(reason.to_owned()));
        Self { gate, moved: Condvar::new(), call_timeout: Mutex::default() }
    }

    /// Opens for a generation whose calls may take so long.
    pub(super) fn open(&self, call_timeout: Option<Duration>) {
        *self.call_timeout.lock() = call_timeout;
        self.set(Gate::Open);
    }

    /// How long a call may take that comes to wait here, if its caller does not say.
    pub(super) fn call_timeout(&self) -> Option<Duration> {
        *self.call_timeout.lock()
    }

    pub(super) fn set(&self, gate: Gate) {
        *self.gate.lock() = gate;
        self.moved.notify_all();
    }

    /// Says when a process that has ended is started again.
    pub(super) fn set_due(&self, due: Instant) {
        if let Gate::Restarting(restart) = &mut *self.gate.lock() {
            restart.due = Some(due);
        }
        self.moved.notify_all();
    }

    /// Changes the reason of a gate that is closed.
    pub(super) fn set_reason(&self, reason: &str) {
        if let Gate::Closed(old) = &mut *self.gate.lock() {
            *old = reason.to_owned();
        }
    }

    pub(super) fn get(&self) -> Gate {
        self.gate.lock().clone()
    }

    /// Waits while the gate is paused or, for a while, while a process is started again; but not beyond `until`.
    pub(super) fn pass(&self, until: Option<Instant>) -> Result<(), Shut> {
        let mut gate = self.gate.lock();
        let began = Instant::now();
        loop {
            let (deadline, shut) = match &*gate {
                Gate::Open => return Ok(()),
                Gate::Paused => (until, Shut::Paused),
                Gate::Restarting(restart) => {
                    let patience = began.checked_add(restart.patience);
                    (patience.into_iter().chain(until).min(), Shut::Restarting(restart.due))
                }
                Gate::Closed(reason) => return Err(Shut::Closed(reason.clone())),
            };
            match deadline {
                None => self.moved.wait(&mut gate),
                Some(deadline) if deadline <= Instant::now() => return Err(shut),
                Some(deadline) => drop(self.moved.wait_until(&mut gate, deadline)),
            }
        }
    }
}

/// Why a gate was not passed.
pub(super) enum Shut {
    /// A process is still being started again, and this is when that is due, if it is known.
    Restarting(Option<Instant>),
    /// The state is still being handed over, and the caller waits no longer.
    Paused,
    /// No calls are taken; says why and what to do.
    Closed(String),
}
