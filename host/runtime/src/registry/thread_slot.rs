//! Thread slots: memory that only the calling thread writes, so that a call writes to no shared cache line.
//!
//! A thread slot holds a thread's call counts, one for each column, and one hazard pointer for each *level*, that is,
//! for each of the nested calls that the thread can be inside. Each level also has a [`Mark`], which is in the [crash
//! record](super::crash_record). A thread slot is made at a thread's first call. After the thread has exited, another
//! thread reuses the slot. A thread slot is never freed, so a swapper may read it at any time.

mod count;
mod ledger;
mod sight;

use count::Count;
pub use count::OneIn;
pub(super) use ledger::CallColumn;
pub use ledger::ColumnLease;
pub(crate) use ledger::ColumnMarks;
pub use ledger::TooManyGenerations;
pub(super) use sight::{Sighting, sightings};

use super::{
    crash_record,
    mark::Mark,
    record::Record,
    slot,
    sync::{AtomicPtr, Ordering},
};
use parking_lot::RwLock;
use replug_model::metrics::Failures;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::{
    alloc::{Layout, handle_alloc_error},
    cell::Cell,
    mem::ManuallyDrop,
    ptr::{self, null_mut},
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64},
};

/// How many nested calls a thread can be inside.
pub(crate) const MAX_DEPTH: usize = 32;
/// The number of columns: how many generations can be alive in this process. A power of two, so that a masked column
/// number is always in bounds.
const COLUMNS: usize = 4096;
const _: () = assert!(COLUMNS.is_power_of_two());

/// What a thread announces about one call that it is inside. The hazard pointer is the first field, so that its address
/// is also the address of the announcement and takes no further register.
#[derive(Debug)]
#[repr(C)]
struct Announcement {
    hazard: AtomicPtr<Record>,
    /// The mark of the call, in the crash record.
    mark: &'static AtomicU64,
}

/// The slot of one thread. Aligned so that no two threads write to the same pair of cache lines.
///
/// A slot is in memory of its own that the kernel fills with zeros at the first access. So a page of counts takes
/// memory only after the thread has called a generation whose count is on the page, or such a generation was dropped.
#[derive(Debug)]
#[repr(C, align(128))]
pub(crate) struct ThreadSlot {
    /// The announcement of the thread's next call: an element of `announced`, or its end. The elements before it belong
    /// to the calls that the thread is inside.
    next: AtomicPtr<Announcement>,
    /// The end of `announced`, which never changes.
    end: AtomicPtr<Announcement>,
    announced: [Announcement; MAX_DEPTH],
    taken: AtomicBool,
    /// The kernel id of the thread that owns the slot.
    tid: AtomicU32,
    /// The counts, by column.
    counts: [Count; COLUMNS],
}

static THREAD_SLOTS: RwLock<Vec<&'static ThreadSlot>> = RwLock::new(Vec::new());

thread_local! {
    /// The calling thread's slot, if it has one.
    static MINE: Cell<Option<&'static ThreadSlot>> = const { Cell::new(None) };
    /// The calling thread's slot, or `None` if its next call must take the slow path. Each call has to check for a slot
    /// in any case, so this adds no cost to a call on the fast path.
    static FAST_PATH: Cell<Option<&'static ThreadSlot>> = const { Cell::new(None) };
    static LEAVE: Leave = const { Leave };
}

/// Releases the thread's slot when the thread exits.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // If the thread is still inside a call, the plugin has called `exit`, which first runs destructors of
        // thread-locals. Then the slot stays in use, because the crash record still has to name the thread that called
        // `exit`.
        if let Some(thread_slot) = MINE.get().filter(|thread_slot| thread_slot.depth() == 0) {
            MINE.set(None);
            FAST_PATH.set(None);
            thread_slot.settle();
            thread_slot.taken.store(false, Ordering::Release);
        }
    }
}

impl ThreadSlot {
    /// The calling thread's slot; `None` on a thread that is exiting.
    #[inline(always)]
    pub(crate) fn mine() -> Option<&'static Self> {
        Self::fast_path_slot().or_else(Self::take)
    }

    /// The calling thread's slot, unless it has none yet or its next call will be timed.
    #[inline(always)]
    pub(super) fn fast_path_slot() -> Option<&'static Self> {
        FAST_PATH.get()
    }

    #[cold]
    fn take() -> Option<&'static Self> {
        if let Some(thread_slot) = MINE.get() {
            FAST_PATH.set(Some(thread_slot));
            return Some(thread_slot);
        }
        LEAVE.try_with(|_| ()).ok()?;
        let free = |thread_slot: &&&'static Self| {
            thread_slot.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let found = THREAD_SLOTS.read().iter().find(free).copied();
        let thread_slot = found.unwrap_or_else(|| {
            let mut thread_slots = THREAD_SLOTS.write();
            let thread_slot = Self::allocate(thread_slots.len());
            thread_slots.push(thread_slot);
            thread_slot
        });
        thread_slot.tid.store(own_tid(), Ordering::Relaxed);
        MINE.set(Some(thread_slot));
        FAST_PATH.set(Some(thread_slot));
        Some(thread_slot)
    }

    /// Makes a slot for the calling thread. `number` is the position of the slot's marks in the crash record.
    fn allocate(number: usize) -> &'static Self {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the kernel picks an address at which nothing is mapped.
        let memory = unsafe { mmap_anonymous(null_mut(), size_of::<Self>(), protection, MapFlags::PRIVATE) };
        let Ok(memory) = memory else { handle_alloc_error(Layout::new::<Self>()) };
        let thread_slot = memory.cast::<Self>();
        let announced = crash_record::marks(number)
            .each_ref()
            .map(|mark| Announcement { hazard: AtomicPtr::new(null_mut()), mark });
        // SAFETY: the memory is as large as a slot, and a page is aligned for one. No other code knows its address yet.
        // Each field is either written here, or an atomic number, for which zeros are a valid value. The memory is
        // never unmapped.
        unsafe {
            let first = &raw mut (*thread_slot).announced;
            first.write(announced);
            (&raw mut (*thread_slot).next).write(AtomicPtr::new(first.cast()));
            (&raw mut (*thread_slot).end).write(AtomicPtr::new(first.add(1).cast()));
            (&raw mut (*thread_slot).taken).write(AtomicBool::new(true));
            &*thread_slot
        }
    }

    /// Takes a level for one more call; `None` if the thread is inside [`MAX_DEPTH`] calls.
    ///
    /// Only the owning thread calls this, and drops the levels in reverse order.
    #[inline(always)]
    pub(super) fn enter(&'static self) -> Option<Level> {
        let next = self.next.load(Ordering::Relaxed);
        if next == self.end.load(Ordering::Relaxed) {
            return None;
        }
        // SAFETY: 1: `next` is an element of `announced`, as it is not the end. `next` begins as the first element,
        // this function advances it by one element and not past the end, and a level moves it back to its own element.
        // 2: the elements are never freed, and are only written to through their atomics.
        let (announcement, after) = unsafe { (&*next, next.add(1)) };
        self.next.store(after, Ordering::Relaxed);
        Some(Level { thread_slot: self, announcement })
    }

    /// How many calls the thread is inside.
    fn depth(&self) -> usize {
        let next = self.next.load(Ordering::Relaxed);
        (next.addr() - self.announced.as_ptr().addr()) / size_of::<Announcement>()
    }

    /// The announcements of the calls that the thread is inside, the innermost last.
    fn announcements(&self) -> &[Announcement] {
        &self.announced[..self.depth()]
    }

    /// The innermost mark of the calling thread that names a plugin. Safe to call in a signal handler.
    pub(super) fn present_mark() -> Mark {
        let Some(thread_slot) = MINE.get() else { return Mark::NOBODY };
        let mut marks =
            thread_slot.announcements().iter().rev().map(|it| Mark(it.mark.load(Ordering::Relaxed)));
        marks.find(|mark| mark.read().is_some()).unwrap_or(Mark::NOBODY)
    }

    /// The call tables of the calls that this thread is inside, the innermost last.
    pub(super) fn own_hazards(&self) -> impl DoubleEndedIterator<Item = *mut Record> + '_ {
        self.announcements().iter().map(|it| it.hazard.load(Ordering::Relaxed))
    }

    /// Moves the counts of an exiting thread to the ledger, which outlives the thread.
    fn settle(&self) {
        ledger::settle(&self.counts);
    }

    /// After a call in `column`: makes the thread's next call take the slow path, on which it is timed.
    #[cold]
    #[inline(never)]
    pub(super) fn force_slow_path(&self, column: CallColumn) {
        // Each thread's first call in a column gets here, because `OneIn` selects the first call.
        if self.count(column).read().calls == 1 {
            ledger::note_visitor(column);
        }
        FAST_PATH.set(None);
    }

    /// The count of the thread's calls in `column`.
    #[inline(always)]
    pub(super) fn count(&self, column: CallColumn) -> &Count {
        &self.counts[column.number() % COLUMNS]
    }
}

/// A level of a thread, used by one call: a hazard pointer and a mark, which are both empty before and after the call.
pub(super) struct Level {
    pub(super) thread_slot: &'static ThreadSlot,
    announcement: &'static Announcement,
}

impl Level {
    #[inline(always)]
    pub(super) fn hazard(&self) -> &'static AtomicPtr<Record> {
        &self.announcement.hazard
    }

    /// Sets the mark: what the thread is about to run.
    #[inline(always)]
    pub(super) fn mark(&self, Mark(mark): Mark) {
        self.announcement.mark.store(mark, Ordering::Relaxed);
    }
}

impl Level {
    /// Ends a call that was counted. Unlike a drop, this is always inlined: a value that is passed to a function that
    /// is not inlined has to be in memory, even on the fast path.
    #[inline(always)]
    pub(super) fn leave(self) {
        ManuallyDrop::new(self).clear();
    }

    #[inline(always)]
    fn clear(&self) {
        self.mark(Mark::NOBODY);
        slot::unpin(self.hazard());
        // `next` is computed and not loaded, because the next call would have to wait for the load.
        self.thread_slot.next.store(ptr::from_ref(self.announcement).cast_mut(), Ordering::Relaxed);
    }
}

impl Drop for Level {
    #[inline(always)]
    fn drop(&mut self) {
        self.clear();
    }
}

/// Passes all hazard pointers of all threads to `look`.
pub(super) fn with_hazards<R>(look: impl FnOnce(&mut dyn Iterator<Item = &AtomicPtr<Record>>) -> R) -> R {
    let thread_slots = THREAD_SLOTS.read();
    look(&mut thread_slots.iter().flat_map(|thread_slot| &thread_slot.announced).map(|it| &it.hazard))
}

/// How many running calls, of all threads, use one of these call tables.
pub(super) fn count_in(records: &[*mut Record]) -> usize {
    with_hazards(|hazards| hazards.filter(|hazard| records.contains(&hazard.load(Ordering::Acquire))).count())
}

/// The kernel id of a thread.
pub(crate) type Tid = u32;

fn own_tid() -> Tid {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Numbers of calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// All calls that have returned or failed.
    pub calls: u64,
    /// The calls among them that have failed.
    pub failures: Failures,
}

impl Calls {
    fn of(returned: u64, failures: Failures) -> Self {
        Self { calls: returned + failures.total(), failures }
    }
}

impl std::ops::AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
    }
}
