//! A model of the slot and its gate. Their sources are compiled with loom's atomics and locks. Loom runs them with
//! every interleaving of at most three preemptions, and with every value that a load may return in C11 if each thread
//! executes its operations in program order.
//!
//! Covered: two callers and one swapper that frees the replaced generation (no use after free, no call on a generation
//! that was retired before the call began); a caller and two successive swaps; a nested call; a caller at an empty slot,
//! while other threads open and close the gate; and the list of the threads that have visited a generation, which must
//! be complete once no call is inside the generation, whether calls returned or unwound. Not covered: timeouts, which
//! never occur here; and `membarrier` itself. Here, both halves of the fence are full fences: according to its manual
//! page, `membarrier` has the effect of a full fence in the callers.

#![cfg(test)]

use gate::{GatedSlot, Shut};
use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
    thread,
};
use slot::{Slot, in_use, unpin};

#[path = "../../host/runtime/src/registry/slot.rs"]
mod slot;

#[path = "../../host/runtime/src/registry/gate.rs"]
#[expect(dead_code, reason = "the model uses only a part of the gate's functions")]
mod gate;

/// Loom's types, with the signatures of the types in the module `sync` of the registry.
mod sync {
    pub(super) use loom::sync::atomic::{AtomicPtr, Ordering};
    use std::{
        ops::{Deref, DerefMut},
        time::Instant,
    };

    #[derive(Debug)]
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    pub(super) struct Guard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> Guard<'_, T> {
            Guard(Some(self.0.lock().unwrap()))
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().unwrap()
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().unwrap()
        }
    }

    /// The result of a wait, which never times out here.
    pub(super) struct InTime;

    #[derive(Debug)]
    pub(super) struct Condvar(loom::sync::Condvar);

    impl Condvar {
        pub(super) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(super) fn wait<T>(&self, guard: &mut Guard<'_, T>) {
            guard.0 = guard.0.take().map(|guard| self.0.wait(guard).unwrap());
        }

        pub(super) fn wait_until<T>(&self, guard: &mut Guard<'_, T>, _: Instant) -> InTime {
            self.wait(guard);
            InTime
        }

        pub(super) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}

mod fence {
    use loom::sync::atomic::{Ordering, fence};

    pub(super) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(super) fn heavy() {
        fence(Ordering::SeqCst);
    }
}

/// The call table of a generation. A flag models freed memory, so that a use after free fails an assertion.
struct Record {
    number: usize,
    freed: AtomicBool,
}

/// The state that callers and swappers share.
struct World {
    slot: Slot<Record>,
    hazards: Vec<AtomicPtr<Record>>,
    /// The call tables of replaced generations. They are freed when the model ends, as loom requires.
    graveyard: Mutex<Vec<*mut Record>>,
}

// SAFETY: the pointers are valid until the model ends.
unsafe impl Send for World {}
// SAFETY: as above; the model tests the slot's protocol.
unsafe impl Sync for World {}

impl World {
    fn new(hazards: usize) -> Arc<Self> {
        let world = Self {
            slot: Slot::empty(),
            hazards: (0..hazards).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect(),
            graveyard: Mutex::new(Vec::new()),
        };
        world.slot.publish(record(1));
        Arc::new(world)
    }

    /// One call. Returns the number of the generation on which it ran.
    fn call(&self, hazard: usize, inside: impl FnOnce()) -> usize {
        let hazard = &self.hazards[hazard];
        let record = self.slot.pin(hazard);
        assert!(!record.is_null(), "a generation always serves in this model");
        // SAFETY: no record is actually freed before the model ends.
        let record = unsafe { &*record };
        inside();
        assert!(!record.freed.load(Ordering::Relaxed), "a call ran on a generation that was freed");
        let number = record.number;
        unpin(hazard);
        number
    }

    /// Swaps, and frees the old generation once no call uses it.
    fn swap(&self, number: usize) {
        let old = self.slot.publish(record(number));
        while in_use(old, self.hazards.iter()) {
            thread::yield_now();
        }
        // SAFETY: no record is actually freed before the model ends.
        unsafe { &*old }.freed.store(true, Ordering::Relaxed);
        self.graveyard.lock().unwrap().push(old);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let last = self.slot.publish(std::ptr::null_mut());
        for record in self.graveyard.lock().unwrap().drain(..).chain([last]) {
            // SAFETY: every record was created by `record` below, and is in this list once.
            drop(unsafe { Box::from_raw(record) });
        }
    }
}

fn record(number: usize) -> *mut Record {
    Box::into_raw(Box::new(Record { number, freed: AtomicBool::new(false) }))
}

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn no_call_runs_on_a_freed_generation_with_two_callers_and_one_swap() {
    explore(|| {
        let world = World::new(2);
        let callers: Vec<_> = (0..2)
            .map(|caller| {
                let world = world.clone();
                thread::spawn(move || world.call(caller, || ()))
            })
            .collect();
        world.swap(2);
        for caller in callers {
            assert!([1, 2].contains(&caller.join().unwrap()));
        }
    });
}

#[test]
fn a_caller_never_returns_to_an_older_generation_in_two_swaps() {
    explore(|| {
        let world = World::new(1);
        let caller = {
            let world = world.clone();
            thread::spawn(move || [world.call(0, || ()), world.call(0, || ())])
        };
        world.swap(2);
        world.swap(3);
        let [first, second] = caller.join().unwrap();
        assert!(first <= second, "a later call ran on an older generation");
    });
}

#[test]
fn a_call_that_begins_after_the_swap_runs_on_the_new_generation() {
    explore(|| {
        let world = World::new(2);
        let swapped = Arc::new(AtomicBool::new(false));
        let caller = {
            let (world, swapped) = (world.clone(), swapped.clone());
            thread::spawn(move || {
                let after = swapped.load(Ordering::Acquire);
                (after, world.call(0, || ()))
            })
        };
        world.swap(2);
        swapped.store(true, Ordering::Release);
        let (after, number) = caller.join().unwrap();
        assert!(!after || number == 2, "a call that began after the swap ran on the old generation");
    });
}

#[test]
fn the_outer_of_two_nested_calls_keeps_its_generation() {
    explore(|| {
        let world = World::new(2);
        let caller = {
            let world = world.clone();
            thread::spawn(move || {
                let mut inner = 0;
                let outer = world.call(0, || inner = world.call(1, || ()));
                (outer, inner)
            })
        };
        world.swap(2);
        let (outer, inner) = caller.join().unwrap();
        assert!(outer <= inner, "the inner call ran on an older generation than the outer");
    });
}

/// The slot of a plugin, as callers and the host's threads use it. Works like `Entry`, but its call tables are numbers.
struct Place {
    slot: GatedSlot<usize>,
    hazard: AtomicPtr<usize>,
    /// The call table to which `resume` returns; `None` if there is no pause.
    paused: sync::Mutex<Option<*mut usize>>,
    first: Box<usize>,
    second: Box<usize>,
}

// SAFETY: the pointers are valid for the lifetime of the place.
unsafe impl Send for Place {}
// SAFETY: as above; the model tests the protocol.
unsafe impl Sync for Place {}

impl Place {
    /// A place in which the first call table serves.
    fn new() -> Arc<Self> {
        let place = Self {
            slot: GatedSlot::closed("it has not begun"),
            hazard: AtomicPtr::new(std::ptr::null_mut()),
            paused: sync::Mutex::new(None),
            first: Box::new(1),
            second: Box::new(2),
        };
        place.slot.open(pointer(&place.first));
        Arc::new(place)
    }

    /// One call. Returns the number on which it ran, or why it was not made.
    fn call(&self) -> Result<usize, Shut> {
        let seen = self.slot.pin(&self.hazard);
        let record = if seen.is_null() { self.slot.wait(&self.hazard, None)? } else { seen };
        // SAFETY: the place owns it.
        let number = unsafe { *record };
        unpin(&self.hazard);
        Ok(number)
    }

    /// `Entry::pause`
    fn pause(&self) {
        let mut paused = self.paused.lock();
        *paused = Some(self.slot.shut(Shut::Paused));
    }

    /// `Entry::resume`
    fn resume(&self) {
        let mut paused = self.paused.lock();
        if let Some(record) = paused.take() {
            self.slot.open(record);
        }
    }

    /// `Entry::publish`
    fn publish(&self) {
        let mut paused = self.paused.lock();
        self.slot.open(pointer(&self.second));
        *paused = None;
    }

    /// `Entry::close`
    fn close(&self) {
        let mut paused = self.paused.lock();
        self.slot.shut(Shut::Closed("closed".into()));
        *paused = None;
    }
}

fn pointer(number: &usize) -> *mut usize {
    std::ptr::from_ref(number).cast_mut()
}

/// Runs a caller concurrently with two other threads, and returns the result of its call. A caller that never returns
/// fails the model.
fn call_beside(place: &Arc<Place>, others: [fn(&Place); 2]) -> Result<usize, Shut> {
    let caller = {
        let place = place.clone();
        thread::spawn(move || place.call())
    };
    let [first, second] = others;
    let other = {
        let place = place.clone();
        thread::spawn(move || first(&place))
    };
    second(place);
    other.join().unwrap();
    caller.join().unwrap()
}

fn closed() -> Shut {
    Shut::Closed("closed".into())
}

#[test]
fn a_call_during_a_swap_and_a_close_runs_or_is_rejected() {
    explore(|| {
        let place = Place::new();
        let called = call_beside(&place, [Place::publish, Place::close]);
        assert!(matches!(called, Ok(1 | 2)) || called == Err(closed()), "{called:?}");
        // A new caller does not wait, whether the swap or the close was last.
        assert!([Ok(2), Err(closed())].contains(&place.call()));
    });
}

#[test]
fn a_resume_concurrent_with_a_close_leaves_no_caller_waiting() {
    explore(|| {
        let place = Place::new();
        place.pause();
        let called = call_beside(&place, [Place::resume, Place::close]);
        assert!([Ok(1), Err(closed())].contains(&called), "{called:?}");
        assert_eq!(place.call(), Err(closed()), "a closed plugin serves again");
    });
}

#[test]
fn a_call_in_a_pause_waits_for_the_swap_or_the_resume_that_ends_it() {
    explore(|| {
        let place = Place::new();
        place.pause();
        let called = call_beside(&place, [Place::resume, Place::publish]);
        assert!([Ok(1), Ok(2)].contains(&called), "{called:?}");
        assert_eq!(place.call(), Ok(2), "a late resume has undone the swap");
    });
}

/// How a call ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Returns,
    Unwinds,
}

/// A generation that is being unmapped, and the threads that have visited it.
struct Visited {
    world: Arc<World>,
    visitors: sync::Mutex<Vec<usize>>,
}

impl Visited {
    /// One call of this thread. As in the runtime, the visit is noted before the hazard pointer is cleared: when a call
    /// that returns is counted, or while a call unwinds. Returns the number of the generation on which the call ran.
    fn call(&self, thread: usize, end: End) -> usize {
        let hazard = &self.world.hazards[thread];
        let record = self.world.slot.pin(hazard);
        // SAFETY: no record is actually freed before the model ends.
        let number = unsafe { &*record }.number;
        let mut counted = 0;
        if end == End::Returns {
            counted += 1;
            self.note(number, thread);
        }
        // The runtime does this when it drops the guard of a call that unwinds.
        if counted == 0 {
            self.note(number, thread);
        }
        unpin(hazard);
        number
    }

    fn note(&self, number: usize, thread: usize) {
        if number == 1 {
            self.visitors.lock().push(thread);
        }
    }
}

#[test]
fn all_visitors_of_a_generation_are_known_when_no_call_is_in_it() {
    explore(|| {
        let visited = Arc::new(Visited { world: World::new(2), visitors: sync::Mutex::new(Vec::new()) });
        let callers = [End::Returns, End::Unwinds].into_iter().enumerate().map(|(thread, end)| {
            let visited = visited.clone();
            thread::spawn(move || visited.call(thread, end))
        });
        let callers: Vec<_> = callers.collect();
        visited.world.swap(2);
        let known = visited.visitors.lock().clone();
        for (thread, caller) in callers.into_iter().enumerate() {
            let was_inside = caller.join().unwrap() == 1;
            assert!(
                !was_inside || known.contains(&thread),
                "a thread was inside the generation, but is not among its visitors"
            );
        }
    });
}
