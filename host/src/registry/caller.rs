//! The path of a call: seat, slot, edge, and back. The hot path of the whole house.

use super::{
    entry::Entry,
    gate::{Gate, Shut},
    record::{Live, Record},
    seat::{Count, Level, MAX_DEPTH, OneIn, Seat, note_visitor},
};
use crate::{
    load::{in_process::take_panic_location, process::Deadline},
    metrics::CallEnd,
};
use replug_api::{
    CallError,
    abi::{Edge, Object, Outcome, Panic},
    call::Caller,
    remote,
};
use std::{
    cell::Cell,
    ptr::null_mut,
    sync::Arc,
    time::{Duration, Instant},
};

/// When a process that has just died is likely to be started again.
const SOON: Duration = Duration::from_millis(200);

thread_local! {
    /// Whether this thread is the one that hands over the state of some plugin.
    pub(super) static HANDING_OVER: Cell<bool> = const { Cell::new(false) };
}

/// What a typed handle's client calls through: a plugin, and which of its interfaces.
#[derive(Clone)]
pub struct EntryCaller {
    pub(crate) entry: Arc<Entry>,
    pub(super) port: usize,
}

impl Caller for EntryCaller {
    #[inline]
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Outcome<T, E>,
    ) -> Result<T, Result<E, CallError>> {
        let pin = self.entry.pin().map_err(Err)?;
        let record = pin.record();
        let Some(port) = record.ports.get(self.port) else {
            return Err(Err(no_such_port(record)));
        };
        let Some(export) = port.methods.get(method as usize) else {
            return Err(Err(self.entry.not_implemented(&record.live, self.port, method)));
        };
        pin.level.mark(port.mark.method(method));
        let count = pin.level.seat.count(record.lane);
        if count.is_due(record.timed_one_in) {
            pin.level.seat.start_clock(record.lane, count);
        }
        let outcome = call(port.bound.object, export.edge);
        if count.note_call(record.timed_one_in) {
            let end =
                if matches!(outcome, Outcome::Returned(_)) { CallEnd::Returned } else { CallEnd::Failed };
            self.entry.stop_clock(pin.level.seat, record, end);
        }
        match outcome {
            Outcome::Returned(value) => Ok(value),
            failed => {
                count.note_failure();
                Err(not_returned(&record.live, &export.name, failed))
            }
        }
    }
}

/// Why a call gave no value: the method's own error, or the host's. Apart, so that what is inlined into callers stays
/// small.
#[cold]
#[inline(never)]
fn not_returned<T, E>(live: &Live, method: &str, outcome: Outcome<T, E>) -> Result<E, CallError> {
    match outcome {
        Outcome::Refused(error) => Ok(error),
        Outcome::Panicked(panic) => Err(panicked(live, method, panic)),
        Outcome::Returned(_) | Outcome::Lost => Err(lost(live, method)),
    }
}

/// What calls with a deadline go through.
#[derive(Clone)]
pub struct TimedCaller {
    pub(crate) caller: EntryCaller,
    pub(crate) after: Duration,
}

impl Caller for TimedCaller {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Outcome<T, E>,
    ) -> Result<T, Result<E, CallError>> {
        Deadline::after(self.after).hold(&self.caller.entry.id, || self.caller.call(method, call))
    }
}

/// The newest generation, held for the length of one call.
pub(crate) struct Pin {
    /// Its drop ends the call.
    level: Level,
    record: *mut Record,
}

impl Pin {
    #[inline(always)]
    pub(super) fn record(&self) -> &Record {
        // SAFETY: `Slot::pin` returned the pointer, not null, for this pin's hazard cell, which is only cleared when
        // the pin's level is dropped; until then whoever unpublishes the record does not free it.
        unsafe { &*self.record }
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.record().live
    }

    /// Counts the call that this pin was for.
    pub(crate) fn count_call(&self) {
        self.count().note_call(OneIn::ONE);
    }

    /// Says that the thread is about to call this method.
    pub(crate) fn mark(&self, interface: &str, method: u32) {
        if self.count().is_first() {
            note_visitor(self.record().lane);
        }
        self.level.mark(self.live().mark_of(interface).method(method));
    }

    /// Counts it as one that panicked or was answered with an error of the plugin's.
    pub(crate) fn count_failure(&self) {
        self.count().note_failure();
    }

    fn count(&self) -> &'static Count {
        self.level.seat.count(self.record().lane)
    }
}

impl Entry {
    /// Pins the generation that serves. Waits while the state is handed over.
    #[inline(always)]
    pub(crate) fn pin(&self) -> Result<Pin, CallError> {
        let Some(seat) = Seat::mine() else { return Err(self.thread_is_ending()) };
        let Some(level) = seat.enter() else { return Err(self.too_deep()) };
        let record = self.slot.pin(level.hazard());
        if record.is_null() { self.pin_slowly(level) } else { Ok(Pin { level, record }) }
    }

    // Takes what a pin is made of, and not a pin: one whose address is taken is kept in memory, on the fast path too,
    // which takes as long as the rest of it.
    #[cold]
    fn pin_slowly(&self, level: Level) -> Result<Pin, CallError> {
        let mut pin = Pin { level, record: null_mut() };
        // A call from inside a call of the same plugin belongs to the generation it began in: waiting for the next
        // one would wait for itself.
        for outer in pin.level.seat.own_hazards().rev().filter(|outer| !outer.is_null()) {
            if self.is_leaving(outer) && !self.is_closed() {
                pin.level.hazard().store(outer, super::sync::Ordering::Relaxed);
                pin.record = outer;
                return Ok(pin);
            }
        }
        if HANDING_OVER.get() && self.gate.get() == Gate::Paused {
            return Err(self.handing_over());
        }
        self.wait_for_record(pin)
    }

    /// Pins the generation that serves, even inside a call of the same plugin.
    pub(super) fn pin_anew(&self) -> Result<Pin, CallError> {
        let seat = Seat::mine().ok_or_else(|| self.thread_is_ending())?;
        let level = seat.enter().ok_or_else(|| self.too_deep())?;
        self.wait_for_record(Pin { level, record: null_mut() })
    }

    fn wait_for_record(&self, mut pin: Pin) -> Result<Pin, CallError> {
        let deadline = Deadline::of(self.id.as_str());
        loop {
            self.gate.pass(deadline.map(|it| it.until)).map_err(|shut| self.shut(shut, deadline))?;
            pin.record = self.slot.pin(pin.level.hazard());
            if !pin.record.is_null() {
                return Ok(pin);
            }
        }
    }

    /// At the end of a call that was chosen to be timed.
    #[cold]
    #[inline(never)]
    fn stop_clock(&self, seat: &Seat, record: &Record, end: CallEnd) {
        if let Some(clock) = seat.take_clock(record.lane) {
            self.note_time(clock, end, &record.live);
        }
    }

    #[cold]
    fn shut(&self, shut: Shut, deadline: Option<Deadline>) -> CallError {
        let plugin = self.id.to_string();
        match shut {
            Shut::Restarting(due) => {
                let left = due.map_or(SOON, |due| due.saturating_duration_since(Instant::now()));
                let retry_in_ms = left.as_millis().try_into().unwrap_or(u64::MAX).max(1);
                CallError::Restarting { plugin, retry_in_ms }
            }
            Shut::Paused => {
                let waited = deadline.map_or(Duration::ZERO, |it| it.after);
                let waited = humantime::format_duration(waited);
                let reason = format!(
                    "its state was still being handed over when the call's deadline of {waited} passed: the call was not made"
                );
                CallError::NotRunning { plugin, reason }
            }
            Shut::Closed(reason) => CallError::NotRunning { plugin, reason },
        }
    }

    #[cold]
    fn handing_over(&self) -> CallError {
        let reason = "its state is being handed over, and this thread is in the middle of a hand-over: waiting for it \
                      could last for ever";
        CallError::NotRunning { plugin: self.id.to_string(), reason: reason.into() }
    }

    #[cold]
    fn thread_is_ending(&self) -> CallError {
        CallError::NotRunning { plugin: self.id.to_string(), reason: "the calling thread is ending".into() }
    }

    #[cold]
    fn too_deep(&self) -> CallError {
        CallError::TooDeep { plugin: self.id.to_string(), depth: MAX_DEPTH }
    }

    #[cold]
    fn not_implemented(&self, live: &Live, port: usize, method: u32) -> CallError {
        CallError::NotImplemented {
            plugin: self.id.to_string(),
            generation: live.generation.0,
            method: self.method_name(port, method),
        }
    }
}

#[cold]
fn no_such_port(record: &Record) -> CallError {
    // A handle's port is published before the handle is made, so this is a broken promise of the registry's.
    CallError::Unknown(format!(
        "{} {} lacks the handle's interface",
        record.live.plugin, record.live.generation
    ))
}

/// Turns a contained panic into the caller's error. To be called on the thread that panicked, while pinned.
#[cold]
pub(crate) fn panicked(live: &Live, method: &str, panic: Panic) -> CallError {
    CallError::Panicked {
        plugin: live.plugin.to_string(),
        generation: live.generation.0,
        method: method.to_owned(),
        message: panic.message().to_string(),
        location: take_panic_location().unwrap_or_else(|| "location unknown".into()),
    }
}

/// Why a call did not come back. To be called on the thread that made it.
#[cold]
pub(crate) fn lost(live: &Live, method: &str) -> CallError {
    match remote::take_lost() {
        // A plugin in a process of its own cannot name a method that it does not have.
        Some(CallError::NotImplemented { plugin, generation, .. }) => {
            CallError::NotImplemented { plugin, generation, method: method.to_owned() }
        }
        Some(error) => error,
        None => CallError::BadResult {
            plugin: live.plugin.to_string(),
            method: method.to_owned(),
            message: "it was lost, and nobody says why; if this happens again, build the plugin anew".into(),
        },
    }
}
