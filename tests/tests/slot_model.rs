//! A model of the slot: its own source, compiled against loom's atomics, run through every interleaving and every
//! reordering that the C11 memory model allows, within the bounds below.
//!
//! Covered: two callers against one swapper that frees what it replaced (no use after free, no call on a record that
//! was retired before the call began); a caller against two swaps in a row; a call from inside a call. Not covered:
//! `membarrier` itself. Here both halves of the fence are full fences, which is what `membarrier` makes of the
//! callers' compiler fence according to its manual page.

#![cfg(test)]

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicPtr, Ordering},
    },
    thread,
};
use slot::{Slot, in_use, unpin};

#[path = "../../host/src/registry/slot.rs"]
#[expect(dead_code, reason = "the model uses a part of what the house uses")]
mod slot;

mod sync {
    pub(super) use loom::sync::atomic::{AtomicPtr, Ordering};
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

/// A generation. Freed memory is modelled by the flag, so that a use after free is a failed assertion.
struct Record {
    number: usize,
    freed: AtomicBool,
}

/// All that callers and swappers share.
struct World {
    slot: Slot<Record>,
    hazards: Vec<AtomicPtr<Record>>,
    /// Loom has to see every record die.
    graveyard: Mutex<Vec<*mut Record>>,
}

// SAFETY: what the pointers point to lives until the model ends.
unsafe impl Send for World {}
// SAFETY: as above; the slot's protocol is what is under test.
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

    /// One call; returns the number of the generation that it ran on.
    fn call(&self, hazard: usize, inside: impl FnOnce()) -> usize {
        let hazard = &self.hazards[hazard];
        let record = self.slot.pin(hazard);
        assert!(!record.is_null(), "something always serves in this model");
        // SAFETY: no record is really freed before the model ends.
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
        // SAFETY: no record is really freed before the model ends.
        unsafe { &*old }.freed.store(true, Ordering::Relaxed);
        self.graveyard.lock().unwrap().push(old);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let last = self.slot.publish(std::ptr::null_mut());
        for record in self.graveyard.lock().unwrap().drain(..).chain([last]) {
            // SAFETY: every record came from `record` below, and is in this list once.
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
fn no_call_runs_on_a_generation_that_was_freed_while_two_threads_call_and_one_swaps() {
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
fn a_caller_survives_two_swaps_in_a_row_and_never_goes_back_a_generation() {
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
