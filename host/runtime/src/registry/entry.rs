//! A plugin's entry in the registry: the slot with the gate, and the generations that no longer serve.

mod pause;
mod retiring;

pub use pause::{PauseError, Paused, Vacant};
pub use retiring::Retiring;

use super::{
    caller::EntryCaller,
    calls::ByMode,
    gate::{GatedSlot, Restart, Shut},
    record::{Live, Port, Ports, Record},
    slot::in_use,
    sync::{AtomicPtr, Ordering},
    thread_slot::{self, Calls},
};
use crate::interface::InterfaceMismatch;
use parking_lot::Mutex;
use replug_api::{
    abi::InterfaceExport,
    call::{Bound, Interface},
};
use replug_model::{
    id::{Generation, PluginId},
    limits::Mode,
    metrics::CallTimes,
};
use std::{
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

/// A plugin's entry. It outlives the plugin's generations, and handles keep it after the host has shut down.
pub struct Entry {
    /// The plugin.
    pub id: PluginId,
    pub(super) slot: GatedSlot<Record>,
    inner: Mutex<Inner>,
    /// The durations of calls, by mode. They are boxed, so that they do not share a cache line with the slot, which
    /// each call reads.
    pub(super) times: Box<ByMode<CallTimes>>,
}

struct Inner {
    /// The interfaces that typed handles need. The index of an interface is the number of its port in each call table.
    wanted: Vec<&'static InterfaceExport>,
    /// The generation that serves, or that is paused because its state is being handed over.
    live: Option<Arc<Live>>,
    /// The time limit of a call, as set by the generation that served last. It includes the time for which the call
    /// waits for a generation.
    call_timeout: Option<Duration>,
    /// The number of the current pause; `None` if the gate is not paused.
    pause: Option<u64>,
    /// The number of pauses so far.
    pauses: u64,
    /// The call tables that were removed from the slot and may still be in use.
    leaving: Vec<*mut Record>,
    /// The generations that no longer serve and have not been dropped yet.
    retiring: Vec<Weak<Live>>,
    /// The calls of the generations that have been dropped.
    past: ByMode<Calls>,
}

// SAFETY: the pointers in `leaving` own their call tables, which are `Send`; they are only touched under the lock.
unsafe impl Send for Inner {}

impl Entry {
    /// The entry of a plugin that does not run. `reason` says why, and what the user can do.
    pub fn new(id: PluginId, reason: &str) -> Self {
        Self {
            id,
            slot: GatedSlot::closed(reason),
            inner: Mutex::new(Inner {
                wanted: Vec::new(),
                live: None,
                call_timeout: None,
                pause: None,
                pauses: 0,
                leaving: Vec::new(),
                retiring: Vec::new(),
                past: ByMode { in_process: Calls::default(), process: Calls::default() },
            }),
            times: Box::new(ByMode { in_process: CallTimes::new(), process: CallTimes::new() }),
        }
    }

    /// The generation that serves or is paused, if any.
    pub fn live(&self) -> Option<Arc<Live>> {
        self.inner.lock().live.clone()
    }

    /// Why no generation serves; `None` if one serves, or is paused.
    pub fn closed_because(&self) -> Option<String> {
        match self.slot.why_shut()? {
            Shut::Closed(reason) => Some(reason),
            Shut::Restarting(restart) => Some(restart.to_string()),
            Shut::Paused => None,
        }
    }

    /// Changes the reason for which calls are rejected. Has no effect if they are not rejected.
    pub fn set_reason(&self, reason: &str) {
        self.slot.set_reason(reason);
    }

    /// Whether the plugin's process has terminated and is being restarted.
    pub fn is_restarting(&self) -> bool {
        matches!(self.slot.why_shut(), Some(Shut::Restarting(_)))
    }

    /// Keeps a nested call in the generation of an outer call, whose call table is at the address `outer`. The table is
    /// not freed meanwhile, because the outer call announces it in a hazard pointer: of the calling thread, or of a
    /// thread that waits for the calling thread. Finds or makes a call table of the same generation with all ports that
    /// handles need now, and announces it in `hazard`. Returns `None` if `outer` belongs to another plugin or still
    /// serves, or if calls to the plugin are rejected.
    pub(super) fn stay_in(&self, outer: usize, hazard: &AtomicPtr<Record>) -> Option<*mut Record> {
        let mut inner = self.inner.lock();
        let outer = inner.leaving.iter().copied().find(|record| record.addr() == outer)?;
        if matches!(self.slot.why_shut(), Some(Shut::Closed(_))) {
            return None;
        }
        // SAFETY: call tables in `leaving` are not freed yet.
        let of_outer = unsafe { &*outer };
        let record = if of_outer.ports.count() < inner.wanted.len() {
            // A handle may be newer than the table `outer`. If the generation lacks the handle's interface, the port
            // has no methods.
            let port = |&wanted: &&'static InterfaceExport| {
                port(&of_outer.live, wanted).unwrap_or(Port::WITHOUT_METHODS)
            };
            let ports = inner.wanted.iter().map(port).collect();
            let record = Box::into_raw(Box::new(Record::new(of_outer.live.clone(), ports)));
            inner.leaving.push(record);
            record
        } else {
            outer
        };
        // The lock keeps other threads from freeing the call table before it is announced.
        hazard.store(record, Ordering::Relaxed);
        Some(record)
    }

    /// The time limit of a call that has to wait for a generation, if its caller sets no limit.
    pub(super) fn call_timeout(&self) -> Option<Duration> {
        self.inner.lock().call_timeout
    }

    /// The number of calls so far of all generations that ran in this mode.
    pub(super) fn calls_in(&self, mode: Mode) -> Calls {
        let inner = self.inner.lock();
        let mut total = *inner.past.of(mode);
        let retiring: Vec<_> = inner.retiring.iter().filter_map(Weak::upgrade).collect();
        for live in retiring.iter().chain(&inner.live).filter(|live| live.traits().mode() == mode) {
            total += live.calls();
        }
        total
    }

    /// How many generations no longer serve and have not been dropped yet.
    pub fn draining(&self) -> usize {
        self.inner.lock().retiring.iter().filter(|live| live.strong_count() > 0).count()
    }

    /// How many calls run on the serving generation at this moment.
    pub fn calls_in_flight(&self) -> usize {
        let inner = self.inner.lock();
        let Some(live) = &inner.live else { return 0 };
        // Calls that began before a pause, or before another handle was made, use an earlier call table of the same
        // generation.
        let mut records = inner.records_of(live);
        records.extend(Some(self.slot.peek()).filter(|record| !record.is_null()));
        thread_slot::count_in(&records)
    }

    /// The caller of a typed handle.
    ///
    /// # Errors
    ///
    /// * [`InterfaceMismatch`] if a generation serves and does not offer the interface, or offers a version that does
    ///   not match the host's
    pub fn bound<I: Interface + ?Sized>(
        self: &Arc<Self>,
    ) -> Result<Bound<I, EntryCaller>, InterfaceMismatch> {
        let caller = self.caller(I::REMOTE)?;
        // SAFETY: 1: the edges that the caller passes on are those of its port, which `Live::interface` has returned
        // for `I::REMOTE`. If calls go through a `RemoteObject`, they are the edges of `I::REMOTE` itself. Otherwise,
        // their layouts were compared with those of `I::REMOTE`.
        Ok(unsafe { Bound::new(caller) })
    }

    fn caller(self: &Arc<Self>, wanted: &'static InterfaceExport) -> Result<EntryCaller, InterfaceMismatch> {
        let mut inner = self.inner.lock();
        let port = match inner.wanted.iter().position(|&known| std::ptr::eq(known, wanted)) {
            Some(port) => port,
            None => {
                let mut all = inner.wanted.clone();
                all.push(wanted);
                if let Some(live) = inner.live.clone() {
                    let ports = ports(&live, &all)?;
                    if !self.slot.peek().is_null() {
                        self.open(&mut inner, Record::new(live, ports));
                    }
                }
                inner.wanted = all;
                inner.wanted.len() - 1
            }
        };
        Ok(EntryCaller { entry: self.clone(), port })
    }

    /// Checks whether a generation can serve the existing handles.
    ///
    /// # Errors
    ///
    /// * [`InterfaceMismatch`] if the generation does not offer an interface that a handle needs
    pub fn accepts(&self, live: &Live) -> Result<(), InterfaceMismatch> {
        ports(live, &self.inner.lock().wanted).map(drop)
    }

    pub(super) fn method_name(&self, port: usize, method: u32) -> String {
        let inner = self.inner.lock();
        let export = inner.wanted.get(port).and_then(|wanted| wanted.methods.get(method as usize));
        export.map_or_else(|| format!("method {method}"), |export| export.name.to_string())
    }

    /// Makes `live` the serving generation, and returns the previous one, if there was one.
    ///
    /// # Errors
    ///
    /// * [`InterfaceMismatch`] if `live` does not offer an interface that a handle needs; the previous generation keeps
    ///   serving
    pub fn publish(self: &Arc<Self>, live: Arc<Live>) -> Result<Option<Retiring>, InterfaceMismatch> {
        let mut inner = self.inner.lock();
        let ports = ports(&live, &inner.wanted)?;
        self.open(&mut inner, Record::new(live.clone(), ports));
        inner.pause = None;
        inner.call_timeout = live.call_timeout();
        let old = inner.live.replace(live);
        inner.note_retiring(old.as_ref());
        Ok(self.retiring(old))
    }

    /// Rejects calls from now on, and returns the generation that served.
    pub fn close(self: &Arc<Self>, reason: &str) -> Option<Retiring> {
        self.take_out(&mut self.inner.lock(), Shut::Closed(reason.to_owned()))
    }

    /// Takes a generation whose process has terminated out of service. New calls wait for the next generation, for at
    /// most `patience`. Returns `None` if that generation does not serve.
    pub fn suspend(self: &Arc<Self>, generation: Generation, patience: Duration) -> Option<Retiring> {
        let mut inner = self.inner.lock();
        if inner.live.as_ref()?.generation != generation {
            return None;
        }
        self.take_out(&mut inner, Shut::Restarting(Restart { patience, due: None }))
    }

    /// Takes the serving generation out of service, if there is one.
    fn take_out(self: &Arc<Self>, inner: &mut Inner, why: Shut) -> Option<Retiring> {
        self.shut(inner, why);
        // A pause ends with the generation that was paused.
        inner.pause = None;
        let old = inner.live.take();
        inner.note_retiring(old.as_ref());
        self.retiring(old)
    }

    /// Sets when the process of a [suspended](Entry::suspend) generation is restarted.
    pub fn restart_due(&self, due: Instant) {
        self.slot.set_due(due);
    }

    /// Makes this call table the serving one, and keeps the old one until no thread uses it.
    fn open(&self, inner: &mut Inner, record: Record) {
        inner.free_when_unused(self.slot.open(Box::into_raw(Box::new(record))));
    }

    /// Empties the slot, and keeps the old call table until no thread uses it.
    fn shut(&self, inner: &mut Inner, why: Shut) {
        inner.free_when_unused(self.slot.shut(why));
    }

    fn retiring(self: &Arc<Self>, live: Option<Arc<Live>>) -> Option<Retiring> {
        live.map(|live| Retiring { entry: self.clone(), live })
    }

    /// How many calls run on this generation, which no longer serves.
    fn in_use(&self, live: &Arc<Live>) -> usize {
        let mut inner = self.inner.lock();
        inner.sweep();
        thread_slot::count_in(&inner.records_of(live))
    }

    /// Waits for the calls that run on [interruptible](super::body::Traits::interruptible) generations that no longer
    /// serve. After `deadline`, interrupts the generations on which calls still run, with that reason.
    pub fn cut_off(&self, deadline: Duration, reason: &str) {
        let began = Instant::now();
        let retiring: Vec<_> = self.inner.lock().retiring.iter().filter_map(Weak::upgrade).collect();
        for live in retiring {
            if live.traits().interruptible
                && !self.drained_within(&live, Some(deadline.saturating_sub(began.elapsed())))
            {
                tracing::warn!("{} {}: {reason}", self.id, live.generation);
                live.body.interrupt(&format!("replug: {reason}"));
            }
        }
    }

    /// Whether all call tables of this generation, which no longer serves, have been freed.
    fn is_drained(&self, live: &Arc<Live>) -> bool {
        let mut inner = self.inner.lock();
        inner.sweep();
        inner.records_of(live).is_empty()
    }

    fn drained_within(&self, live: &Arc<Live>, deadline: Option<Duration>) -> bool {
        let began = Instant::now();
        let mut nap = Duration::from_micros(5);
        // Callers announce the end of a call with a plain store, and wake no thread. This makes calls fast, but
        // requires polling here.
        while !self.is_drained(live) {
            if deadline.is_some_and(|deadline| began.elapsed() >= deadline) {
                return false;
            }
            thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(5));
        }
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // Each caller holds the entry, so no call table of the entry is in use.
        let inner = self.inner.get_mut();
        inner.free_when_unused(self.slot.shut(Shut::Closed(String::new())));
    }
}

impl Inner {
    /// Keeps a call table that was removed from the slot until no thread uses it. Ignores null.
    fn free_when_unused(&mut self, record: *mut Record) {
        if !record.is_null() {
            self.leaving.push(record);
        }
        self.sweep();
    }

    fn note_retiring(&mut self, live: Option<&Arc<Live>>) {
        self.retiring.retain(|live| live.strong_count() > 0);
        self.retiring.extend(live.map(Arc::downgrade));
    }

    /// The call tables of a generation that were removed from the slot and may be in use.
    fn records_of(&self, live: &Arc<Live>) -> Vec<*mut Record> {
        let of_it = |&record: &*mut Record| {
            // SAFETY: call tables in `leaving` are not freed yet.
            Arc::ptr_eq(unsafe { &(*record).live }, live)
        };
        self.leaving.iter().copied().filter(of_it).collect()
    }

    /// Frees the removed call tables that no thread uses.
    fn sweep(&mut self) {
        self.leaving.retain(|&record| {
            let used = thread_slot::with_hazards(|hazards| in_use(record, hazards));
            if !used {
                // SAFETY: the call table came from `Box::into_raw` in `open` or `stay_in`, is out of the slot, and in
                // no hazard pointer. So no thread uses it, and none will (see `Slot::publish`). The table is removed
                // from the list, so it is freed once.
                drop(unsafe { Box::from_raw(record) });
            }
            used
        });
    }
}

/// The ports of `live` for the interfaces that the handles need.
fn ports(live: &Live, wanted: &[&'static InterfaceExport]) -> Result<Ports, InterfaceMismatch> {
    wanted.iter().map(|wanted| port(live, wanted)).collect()
}

fn port(live: &Live, wanted: &'static InterfaceExport) -> Result<Port, InterfaceMismatch> {
    Ok(Port::new(live.interface(wanted)?, live.mark_of(&wanted.name)))
}
