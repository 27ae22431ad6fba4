//! The path of a call, which is the hot path of the host: from the calling thread's slot through the plugin's slot to
//! the edge, and back. The *fast path* handles the usual case, and the *slow path* everything else.

use super::{
    entry::Entry,
    gate::Shut,
    mark::Mark,
    no_result::{lost, panicked},
    record::{Live, Record},
    stack::stack_left,
    thread_slot::{Level, MAX_DEPTH, ThreadSlot},
};
use crate::{
    deadline::{Deadline, Noted},
    interface::Method,
};
use replug_api::{
    CallError,
    abi::{Edge, MethodExport, Object},
    call::{Bound, Caller, Failed},
};
use replug_model::metrics::{CallEnd, Failure, Stopwatch};
use std::{
    cell::Cell,
    ptr::null_mut,
    sync::Arc,
    time::{Duration, Instant},
};

/// The time after which a caller is asked to retry if the restart of a dead process has not been scheduled yet.
const SOON: Duration = Duration::from_millis(200);

thread_local! {
    /// Whether this thread is handing over the state of a plugin.
    pub(super) static HANDING_OVER: Cell<bool> = const { Cell::new(false) };
}

/// The caller of a typed handle: a plugin, and one of its interfaces.
#[derive(Clone)]
pub struct EntryCaller {
    pub(crate) entry: Arc<Entry>,
    /// The number of the interface's port, the same in the call tables of all generations. `record.rs` defines *port*.
    pub(super) port: usize,
}

// SAFETY: 1. A port holds an object and the methods of the export that it is bound to, as `Live::interface` returned
// them.
// 2. The generation is pinned until the outcome has been taken apart. A panic in the outcome has been read and dropped
// by then.
unsafe impl Caller for EntryCaller {
    #[inline]
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        let Some(ready) = self.ready(method) else { return self.call_slowly(method, call) };
        ready.run(|_, object, edge| call(object, edge))
    }

    fn stack_left(&self) -> Option<usize> {
        stack_left()
    }
}

impl EntryCaller {
    /// Prepares a call on the fast path. Returns `None` in every unusual case, which the slow path then handles. This
    /// keeps the code that is inlined into callers small.
    #[inline(always)]
    fn ready(&self, method: u32) -> Option<Ready> {
        let pin = self.entry.pin_if_ready()?;
        let port = pin.record().ports.get(self.port);
        let Some((port, export)) = port.and_then(|port| Some((port, port.methods.get(method as usize)?)))
        else {
            pin.level.leave();
            return None;
        };
        let (object, mark) = (port.object, port.mark);
        Some(Ready::new(pin, (object, export), mark.method(method)))
    }

    /// The slow path. It handles a thread's first call, the calls that are timed, and the calls that have to wait or
    /// cannot be made.
    #[cold]
    #[inline(never)]
    fn call_slowly<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        let (pin, _wait) = self.entry.pin().map_err(Err)?;
        let record = pin.record();
        let Some(port) = record.ports.get(self.port) else {
            return Err(Err(no_such_port(record)));
        };
        let Some(export) = port.methods.get(method as usize) else {
            return Err(Err(self.entry.not_implemented(&record.live, self.port, method)));
        };
        let (object, mark) = (port.object, port.mark);
        Ready::new(pin, (object, export), mark.method(method)).run(|record, object, edge| {
            let watch = Stopwatch::start();
            let outcome = call(object, edge);
            let took = watch.stop();
            // The kind of failure is determined later. The measured time does not depend on it.
            let end = if outcome.is_ok() { CallEnd::Ok } else { CallEnd::Failed(Failure::Lost) };
            self.entry.note_time(took, end, &record.live);
            outcome
        })
    }
}

/// A prepared call of a method: the generation is pinned, and the thread has the method's mark.
struct Ready {
    pin: Pin,
    object: Object,
    export: &'static MethodExport,
}

impl Ready {
    #[inline(always)]
    fn new(pin: Pin, (object, export): (Object, &'static MethodExport), mark: Mark) -> Self {
        pin.level.mark(mark);
        Self { pin, object, export }
    }

    #[inline(always)]
    fn run<T, E>(
        self,
        call: impl FnOnce(&Record, Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        // Each branch ends the call itself, so that the pin stays in registers: see [`Level::leave`].
        match call(self.pin.record(), self.object, self.export.edge) {
            Ok(value) => {
                self.pin.count_return();
                self.pin.level.leave();
                Ok(value)
            }
            Err(failed) => {
                let error = not_returned(&self.pin.record().live, &self.export.name, failed);
                self.pin.count(end_of(&error));
                self.pin.level.leave();
                Err(error)
            }
        }
    }
}

/// How a failed call is counted.
#[cold]
fn end_of<E>(error: &Result<E, CallError>) -> CallEnd {
    match error {
        Ok(_) => CallEnd::Failed(Failure::Error),
        Err(error) => CallEnd::of_error(error),
    }
}

/// The error of a failed call: the method's own error, or the host's. This is a separate function, so that the code
/// that is inlined into callers stays small.
#[cold]
#[inline(never)]
fn not_returned<E>(live: &Live, method: &str, failed: Failed<E>) -> Result<E, CallError> {
    match failed {
        Failed::Refused(error) => Ok(error),
        Failed::Panicked(panic) => Err(panicked(live, method, panic)),
        Failed::Lost => Err(lost(live, method)),
    }
}

/// The caller of a handle whose calls have a deadline.
#[derive(Clone)]
pub struct TimedCaller {
    pub(crate) caller: EntryCaller,
    pub(crate) after: Duration,
}

impl TimedCaller {
    /// The same interface of the same plugin as `of`, with a deadline for each call.
    pub(crate) fn bound<I: ?Sized>(of: &Bound<I, EntryCaller>, after: Duration) -> Bound<I, Self> {
        let timed = Self { caller: of.caller().clone(), after };
        // SAFETY: 1: the edges of `timed` are those of the caller that it wraps.
        unsafe { Bound::new(timed) }
    }
}

// SAFETY: 1 and 2: as for the caller that it wraps.
unsafe impl Caller for TimedCaller {
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        Deadline::after(self.after).hold(&self.caller.entry.id, || self.caller.call(method, call))
    }

    fn stack_left(&self) -> Option<usize> {
        self.caller.stack_left()
    }
}

/// Whether the calling thread's next call will be timed. Must be called before the call pins a generation.
#[inline]
pub(crate) fn next_call_is_timed() -> bool {
    ThreadSlot::fast_path_slot().is_none()
}

/// The deadline that was set for a call that had to wait for a generation, in force until this value is dropped.
pub(crate) type WaitDeadline = Option<Noted>;

/// A generation that is pinned for the duration of one call.
pub(crate) struct Pin {
    /// Dropping it ends the call.
    level: Level,
    record: *mut Record,
}

impl Pin {
    #[inline(always)]
    pub(super) fn record(&self) -> &Record {
        // SAFETY: `Slot::pin` returned the pointer, not null, for this pin's hazard pointer, which is only cleared
        // when the pin's level is dropped. Until then, no thread frees the call table.
        unsafe { &*self.record }
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.record().live
    }

    /// Counts the call of this pin as returned.
    #[inline(always)]
    fn count_return(&self) {
        let (thread_slot, record) = (self.level.thread_slot, self.record());
        if thread_slot.count(record.column).note_return(record.timed_one_in) {
            thread_slot.force_slow_path(record.column);
        }
    }

    /// Sets the thread's mark: the thread is about to call this method.
    #[inline]
    pub(crate) fn mark(&self, method: Method<'_>) {
        self.level.mark(self.live().mark_at(method.interface).method(method.index));
    }

    /// Ends a call that was counted. Unlike a drop, this keeps the pin in registers: see [`Level::leave`].
    #[inline]
    pub(crate) fn leave(self) {
        self.level.leave();
    }

    /// Counts the call of this pin by its outcome.
    #[inline(always)]
    pub(crate) fn count(&self, end: CallEnd) {
        match end {
            CallEnd::Ok => self.count_return(),
            CallEnd::Failed(why) => count_failure(self.level.thread_slot, self.record(), why),
        }
    }
}

/// Counts a call that failed. Takes the parts of a pin instead of the pin, so that the pin stays in registers: see
/// [`Level::leave`].
#[cold]
#[inline(never)]
fn count_failure(thread_slot: &'static ThreadSlot, record: &Record, why: Failure) {
    if thread_slot.count(record.column).note_failure(why, record.timed_one_in) {
        thread_slot.force_slow_path(record.column);
    }
}

impl Entry {
    /// Pins the generation that serves, for a call that is not timed. Returns `None` in every unusual case, which
    /// [`Entry::pin`] handles.
    #[inline(always)]
    pub(crate) fn pin_if_ready(&self) -> Option<Pin> {
        let level = ThreadSlot::fast_path_slot()?.enter()?;
        let record = self.slot.pin(level.hazard());
        if record.is_null() {
            level.leave();
            return None;
        }
        Some(Pin { level, record })
    }

    /// Pins the generation that serves. If none serves, the gate decides whether this waits or fails. The caller must
    /// keep the second value until the call has returned.
    #[inline(always)]
    pub(crate) fn pin(&self) -> Result<(Pin, WaitDeadline), CallError> {
        let Some(thread_slot) = ThreadSlot::mine() else { return Err(self.thread_is_ending()) };
        let Some(level) = thread_slot.enter() else { return Err(self.too_deep()) };
        let record = self.slot.pin(level.hazard());
        if record.is_null() { self.pin_slowly(level) } else { Ok((Pin { level, record }, None)) }
    }

    // Takes the level of a pin instead of a pin. If the address of a pin were taken, the compiler would keep the pin in
    // memory, even on the fast path. The accesses to this memory would take as long as the rest of the path.
    #[cold]
    fn pin_slowly(&self, level: Level) -> Result<(Pin, WaitDeadline), CallError> {
        let mut pin = Pin { level, record: null_mut() };
        // A call made inside a call into the same plugin uses the generation in which the outer call began. It cannot
        // wait for the next generation, which may serve only after the outer call has returned.
        for outer in super::outer::OuterCalls::addresses().into_iter().rev() {
            if let Some(record) = self.stay_in(outer, pin.level.hazard()) {
                pin.record = record;
                return Ok((pin, None));
            }
        }
        if HANDING_OVER.get() && self.slot.why_shut() == Some(Shut::Paused) {
            return Err(self.handing_over());
        }
        self.wait_for_record(pin)
    }

    /// Pins the generation that serves, even inside a call into the same plugin.
    pub(super) fn pin_anew(&self) -> Result<(Pin, WaitDeadline), CallError> {
        let thread_slot = ThreadSlot::mine().ok_or_else(|| self.thread_is_ending())?;
        let level = thread_slot.enter().ok_or_else(|| self.too_deep())?;
        self.wait_for_record(Pin { level, record: null_mut() })
    }

    fn wait_for_record(&self, mut pin: Pin) -> Result<(Pin, WaitDeadline), CallError> {
        let noted = Deadline::of(self.id.as_str());
        let deadline = noted.or_else(|| self.call_timeout().map(Deadline::after));
        let waited = self.slot.wait(pin.level.hazard(), deadline.map(|it| it.until));
        pin.record = waited.map_err(|shut| self.not_running(shut, deadline))?;
        let unnoted = deadline.filter(|_| noted.is_none());
        Ok((pin, unnoted.map(|deadline| deadline.note(&self.id))))
    }

    #[cold]
    fn not_running(&self, shut: Shut, deadline: Option<Deadline>) -> CallError {
        let plugin = self.id.to_string();
        match shut {
            Shut::Restarting(restart) => {
                let left = restart.due.map_or(SOON, |due| due.saturating_duration_since(Instant::now()));
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
        let reason = "its state is being handed over, and this thread is handing over the state of a plugin itself: waiting \
                      could cause a deadlock";
        CallError::NotRunning { plugin: self.id.to_string(), reason: reason.into() }
    }

    #[cold]
    fn thread_is_ending(&self) -> CallError {
        CallError::NotRunning { plugin: self.id.to_string(), reason: "the calling thread is exiting".into() }
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
    // A handle's port is published before the handle is made, so a missing port is a bug in the registry.
    CallError::Unknown(format!(
        "{} {} lacks the handle's interface",
        record.live.plugin, record.live.generation
    ))
}
