//! What callers do when nothing serves: wait for the hand-over to end, or hear why not.

use parking_lot::{Condvar, Mutex};
use std::time::{Duration, Instant};

/// Why a slot is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    /// It is not, or is about to be filled.
    Open,
    /// The state is being handed over: new calls wait.
    Paused,
    /// Its process has ended and is started again: new calls wait for so long.
    Restarting(Duration),
    /// No calls are taken; says why and what to do.
    Closed(String),
}

/// The gate of one plugin, with those who wait before it.
#[derive(Debug)]
pub(super) struct GateKeeper {
    gate: Mutex<Gate>,
    moved: Condvar,
}

impl GateKeeper {
    pub(super) fn closed(reason: &str) -> Self {
        Self { gate: Mutex::new(Gate::Closed(reason.to_owned())), moved: Condvar::new() }
    }

    pub(super) fn set(&self, gate: Gate) {
        *self.gate.lock() = gate;
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

    /// Waits while the gate is paused or, for a while, while a process is started again.
    pub(super) fn pass(&self) -> Result<(), Shut> {
        let mut gate = self.gate.lock();
        let began = Instant::now();
        loop {
            match &*gate {
                Gate::Open => return Ok(()),
                Gate::Paused => self.moved.wait(&mut gate),
                Gate::Restarting(patience) => {
                    let left = patience.saturating_sub(began.elapsed());
                    if left.is_zero() || self.moved.wait_for(&mut gate, left).timed_out() {
                        return Err(Shut::Restarting);
                    }
                }
                Gate::Closed(reason) => return Err(Shut::Closed(reason.clone())),
            }
        }
    }
}

/// Why a gate was not passed.
pub(super) enum Shut {
    /// A process is still being started again.
    Restarting,
    /// No calls are taken; says why and what to do.
    Closed(String),
}
