//! The slot of a plugin, and the gate, which determines what callers do while the slot is empty.
//!
//! The slot and the gate change together, under one lock. Callers read the slot without that lock, so the order of the
//! changes matters: the gate is opened after the slot is filled, and shut before the slot is emptied. So a caller that
//! finds the slot empty and then the gate open reads the slot again: the slot is full now, unless the gate was shut
//! meanwhile.
//!
//! This file is also compiled with a model checker's atomics and locks (`tests/tests/slot_model.rs`), so it imports
//! them from its parent module.

use super::slot::Slot;
use super::sync::{AtomicPtr, Condvar, Mutex};
use std::{
    fmt,
    ptr::null_mut,
    time::{Duration, Instant},
};

/// Why the slot is empty, which determines what callers do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shut {
    /// The state is being handed over: new calls wait.
    Paused,
    /// The plugin's process has terminated and is being restarted: new calls wait.
    Restarting(Restart),
    /// Calls are rejected. The text is the reason, and what the user can do.
    Closed(String),
}

/// The state of a restart, for callers that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    /// How long new calls wait.
    pub(super) patience: Duration,
    /// When the restart is due; `None` while this is unknown.
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

/// The slot of one plugin and its gate, on which callers wait.
#[derive(Debug)]
pub(super) struct GatedSlot<T> {
    slot: Slot<T>,
    /// Why the slot is empty, if it is. Locked while the slot or the gate changes.
    shut: Mutex<Option<Shut>>,
    moved: Condvar,
}

impl<T> GatedSlot<T> {
    /// An empty slot that is closed for this reason.
    pub(super) fn closed(reason: &str) -> Self {
        let shut = Mutex::new(Some(Shut::Closed(reason.to_owned())));
        Self { slot: Slot::empty(), shut, moved: Condvar::new() }
    }

    /// Announces in `hazard` the call table that serves, and returns it; null if none serves: see [`Slot::pin`].
    #[inline(always)]
    pub(super) fn pin(&self, hazard: &AtomicPtr<T>) -> *mut T {
        self.slot.pin(hazard)
    }

    /// Like [`GatedSlot::pin`], but waits for a call table during a pause or, for a limited time, while the plugin's
    /// process is restarted. Waits no longer than `until`.
    pub(super) fn wait(&self, hazard: &AtomicPtr<T>, until: Option<Instant>) -> Result<*mut T, Shut> {
        loop {
            self.pass(until)?;
            let record = self.slot.pin(hazard);
            if !record.is_null() {
                return Ok(record);
            }
            // The gate was shut after this call had passed it.
        }
    }

    fn pass(&self, until: Option<Instant>) -> Result<(), Shut> {
        let mut gate = self.shut.lock();
        let began = Instant::now();
        loop {
            let Some(shut) = &*gate else { return Ok(()) };
            let deadline = match shut {
                Shut::Paused => until,
                Shut::Restarting(restart) => {
                    began.checked_add(restart.patience).into_iter().chain(until).min()
                }
                Shut::Closed(_) => return Err(shut.clone()),
            };
            match deadline {
                None => self.moved.wait(&mut gate),
                Some(deadline) if deadline <= Instant::now() => return Err(shut.clone()),
                Some(deadline) => drop(self.moved.wait_until(&mut gate, deadline)),
            }
        }
    }

    /// Makes this call table the serving one, and returns the previous one, or null. The returned table may still be
    /// in use.
    pub(crate) fn open(&self, record: *mut T) -> *mut T {
        let mut gate = self.shut.lock();
        let old = self.slot.publish(record);
        *gate = None;
        drop(gate);
        self.moved.notify_all();
        old
    }

    /// Empties the slot, and returns the call table that served, or null. The returned table may still be in use.
    pub(super) fn shut(&self, why: Shut) -> *mut T {
        let mut gate = self.shut.lock();
        *gate = Some(why);
        let old = self.slot.publish(null_mut());
        drop(gate);
        self.moved.notify_all();
        old
    }

    /// Sets when the plugin's terminated process is restarted.
    pub(super) fn set_due(&self, due: Instant) {
        if let Some(Shut::Restarting(restart)) = &mut *self.shut.lock() {
            restart.due = Some(due);
        }
        self.moved.notify_all();
    }

    /// Changes the reason of a gate that is closed.
    pub(super) fn set_reason(&self, reason: &str) {
        if let Some(Shut::Closed(old)) = &mut *self.shut.lock() {
            *old = reason.to_owned();
        }
    }

    /// Why the slot is empty, if it is.
    pub(super) fn why_shut(&self) -> Option<Shut> {
        self.shut.lock().clone()
    }

    /// The call table that serves, or null. The pointer is only for comparisons with others.
    pub(super) fn peek(&self) -> *mut T {
        self.slot.peek()
    }
}
