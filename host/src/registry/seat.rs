//! Seats: what each calling thread writes and no other thread does, so that a call touches no shared cache line.
//!
//! A seat holds a thread's hazard cells, one for each call it is inside, and its call counts; and beside each hazard
//! cell a [`Mark`], which lies in the [crash record](super::crash_record). Seats are made when a thread first calls,
//! handed on to the next thread when it ends, and never freed, so that a swapper may read them at any time.

mod count;
mod sight;

use count::Count;
pub(super) use count::OneIn;
pub(super) use sight::{Sighting, sightings};

use super::{
    crash_record::{self, CrashRecord, Note},
    mark::{Mark, Marked, Step},
    record::Record,
    slot,
    sync::{AtomicPtr, Ordering},
};
use parking_lot::{Mutex, RwLock};
use std::{
    cell::Cell,
    collections::BTreeSet,
    fs, io,
    mem::ManuallyDrop,
    path::PathBuf,
    ptr::null_mut,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize},
    },
};

/// How many calls a thread may be inside at once.
pub(crate) const MAX_DEPTH: usize = 32;
const LANES_PER_CHUNK: usize = 64;
const CHUNKS: usize = 64;

/// What a thread says of one call that it is inside.
#[derive(Debug)]
struct Announcement {
    hazard: AtomicPtr<Record>,
    /// In the crash record.
    mark: &'static AtomicU64,
}

/// One thread's place. Aligned so that no two threads write the same pair of cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Seat {
    taken: AtomicBool,
    /// The thread that has it, by the kernel's number.
    tid: AtomicU32,
    /// How many calls the thread is inside.
    depth: AtomicUsize,
    announced: [Announcement; MAX_DEPTH],
    counts: [OnceLock<Box<[Count; LANES_PER_CHUNK]>>; CHUNKS],
}

static SEATS: RwLock<Vec<&'static Seat>> = RwLock::new(Vec::new());

thread_local! {
    static MINE: Cell<Option<&'static Seat>> = const { Cell::new(None) };
    /// The same, or none if the next call is to take the slow way. So a fast call pays nothing for the choice of those
    /// that are timed: whether the thread has a seat, it looks anyway.
    static IN_SIGHT: Cell<Option<&'static Seat>> = const { Cell::new(None) };
    static LEAVE: Leave = const { Leave };
}

/// Gives the thread's seat back when the thread ends.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        // In the middle of a call, it is not the thread that ends: a plugin has called `exit`, which runs destructors of
        // thread-locals first. What is in use stays in use, and the crash record is still to hear who it was.
        if let Some(seat) = MINE.get().filter(|seat| seat.depth.load(Ordering::Relaxed) == 0) {
            MINE.set(None);
            IN_SIGHT.set(None);
            seat.settle();
            seat.taken.store(false, Ordering::Release);
        }
    }
}

impl Seat {
    /// The calling thread's seat; `None` on a thread that is about to end.
    #[inline(always)]
    pub(crate) fn mine() -> Option<&'static Self> {
        Self::in_sight().or_else(Self::take)
    }

    /// The calling thread's seat, unless it has none yet or its next call is to be timed.
    #[inline(always)]
    pub(super) fn in_sight() -> Option<&'static Self> {
        IN_SIGHT.get()
    }

    #[cold]
    fn take() -> Option<&'static Self> {
        if let Some(seat) = MINE.get() {
            IN_SIGHT.set(Some(seat));
            return Some(seat);
        }
        LEAVE.try_with(|_| ()).ok()?;
        let free = |seat: &&&'static Self| {
            seat.taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let found = SEATS.read().iter().find(free).copied();
        let seat = found.unwrap_or_else(|| {
            let mut seats = SEATS.write();
            let seat: &'static Self = Box::leak(Box::new(Self {
                taken: AtomicBool::new(true),
                tid: AtomicU32::new(0),
                depth: AtomicUsize::new(0),
                announced: crash_record::marks(seats.len())
                    .each_ref()
                    .map(|mark| Announcement { hazard: AtomicPtr::new(null_mut()), mark }),
                counts: std::array::from_fn(|_| OnceLock::new()),
            }));
            seats.push(seat);
            seat
        });
        seat.tid.store(own_tid(), Ordering::Relaxed);
        MINE.set(Some(seat));
        IN_SIGHT.set(Some(seat));
        Some(seat)
    }

    /// The place for one more call; `None` if the thread is inside [`MAX_DEPTH`] calls.
    ///
    /// Only the owning thread calls this, and drops what it gets in the opposite order.
    #[inline(always)]
    pub(super) fn enter(&'static self) -> Option<Level> {
        let depth = self.depth.load(Ordering::Relaxed);
        let announcement = self.announced.get(depth)?;
        self.depth.store(depth + 1, Ordering::Relaxed);
        Some(Level { seat: self, announcement, depth })
    }

    /// What the calling thread is in the middle of. Safe to call in a signal handler.
    pub(super) fn present_mark() -> Mark {
        let Some(seat) = MINE.get() else { return Mark::NOBODY };
        let depth = seat.depth.load(Ordering::Relaxed).min(MAX_DEPTH);
        let mut marks = seat.announced[..depth].iter().rev().map(|it| Mark(it.mark.load(Ordering::Relaxed)));
        marks.find(|mark| mark.read().is_some()).unwrap_or(Mark::NOBODY)
    }

    /// The records this thread is inside, the innermost call last.
    pub(super) fn own_hazards(&self) -> impl DoubleEndedIterator<Item = *mut Record> + '_ {
        let depth = self.depth.load(Ordering::Relaxed).min(MAX_DEPTH);
        self.announced[..depth].iter().map(|it| it.hazard.load(Ordering::Relaxed))
    }

    /// Moves the counts of a thread that ends to where they outlive it.
    fn settle(&self) {
        let mut ledger = LEDGER.lock();
        for (chunk, counts) in self.counts.iter().enumerate() {
            for (place, count) in counts.get().into_iter().flat_map(|counts| counts.iter().enumerate()) {
                let calls = count.take();
                if let Some(settled) = ledger.get_mut(chunk * LANES_PER_CHUNK + place) {
                    settled.calls += calls;
                }
            }
        }
    }

    /// After a call in `lane`: has the thread's next call take the slow way, on which it is timed.
    #[cold]
    #[inline(never)]
    pub(super) fn look_away(&self, lane: Lane) {
        if self.count(lane).read().calls == 1 {
            note_visitor(lane);
        }
        IN_SIGHT.set(None);
    }

    /// Where the thread counts its calls in `lane`.
    #[inline(always)]
    pub(super) fn count(&self, lane: Lane) -> &Count {
        let (chunk, place) = (lane.0 / LANES_PER_CHUNK, lane.0 % LANES_PER_CHUNK);
        &self.counts[chunk].get_or_init(|| Box::new(std::array::from_fn(|_| Count::default())))[place]
    }
}

/// A thread's place for one call: a hazard cell and a mark, both of them empty before and after.
pub(super) struct Level {
    pub(super) seat: &'static Seat,
    announcement: &'static Announcement,
    /// How many calls it is inside.
    depth: usize,
}

impl Level {
    #[inline(always)]
    pub(super) fn hazard(&self) -> &'static AtomicPtr<Record> {
        &self.announcement.hazard
    }

    /// Says what the thread is about to run.
    #[inline(always)]
    pub(super) fn mark(&self, Mark(mark): Mark) {
        self.announcement.mark.store(mark, Ordering::Relaxed);
    }
}

impl Level {
    /// Ends the call. The same as a drop, but one that is not called apart: what is handed to such a call has to lie in
    /// memory, on the fast path too.
    #[inline(always)]
    pub(super) fn leave(self) {
        ManuallyDrop::new(self).clear();
    }

    #[inline(always)]
    fn clear(&self) {
        self.mark(Mark::NOBODY);
        slot::unpin(self.hazard());
        // Not read again: the next call would wait for that.
        self.seat.depth.store(self.depth, Ordering::Relaxed);
    }
}

impl Drop for Level {
    #[inline(always)]
    fn drop(&mut self) {
        self.clear();
    }
}

/// Looks at all hazard cells of all threads.
pub(super) fn with_hazards<R>(look: impl FnOnce(&mut dyn Iterator<Item = &AtomicPtr<Record>>) -> R) -> R {
    let seats = SEATS.read();
    look(&mut seats.iter().flat_map(|seat| &seat.announced).map(|it| &it.hazard))
}

/// How many calls of all threads are inside these records.
pub(super) fn count_in(records: &[*mut Record]) -> usize {
    with_hazards(|hazards| hazards.filter(|hazard| records.contains(&hazard.load(Ordering::Acquire))).count())
}

/// What is known of a lane beside the counts of the threads that live.
#[derive(Debug, Default)]
struct Account {
    taken: bool,
    /// The calls of threads that have ended.
    calls: Calls,
    /// The threads that ever ran code of the generation, by the kernel's number.
    visitors: BTreeSet<Tid>,
}

/// A thread, as the kernel numbers it.
pub(super) type Tid = u32;

/// All accounts, by lane.
static LEDGER: Mutex<Vec<Account>> = Mutex::new(Vec::new());

fn own_tid() -> Tid {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}

/// Says that the calling thread runs code of the generation that has this lane.
#[cold]
fn note_visitor(lane: Lane) {
    let tid = own_tid();
    if let Some(account) = LEDGER.lock().get_mut(lane.0) {
        account.visitors.insert(tid);
    }
}

/// There are more living generations in this process than can be counted.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "4096 generations are alive in this process: calls that never return keep old ones from retiring; restart the host"
)]
pub struct TooManyGenerations;

crate::readable::readable!(TooManyGenerations);

/// A number that one living generation counts its calls under; given back when it has retired.
#[derive(Debug)]
pub(crate) struct LaneLease {
    lane: Lane,
    /// Says in a file who counts under it.
    note: Option<PathBuf>,
}

/// See [`LaneLease`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lane(usize);

impl Lane {
    /// Less than 4096.
    pub(super) fn number(self) -> usize {
        self.0
    }

    #[cfg(test)]
    pub(super) fn numbered(number: usize) -> Self {
        Self(number)
    }
}

impl LaneLease {
    /// Takes a lane that no one counts under.
    pub(crate) fn take() -> Result<Self, TooManyGenerations> {
        let mut ledger = LEDGER.lock();
        let free = ledger.iter().position(|account| !account.taken).unwrap_or(ledger.len());
        if free == LANES_PER_CHUNK * CHUNKS {
            return Err(TooManyGenerations);
        }
        if free == ledger.len() {
            ledger.push(Account::default());
        }
        ledger[free].taken = true;
        Ok(Self { lane: Lane(free), note: None })
    }

    pub(super) fn lane(&self) -> Lane {
        self.lane
    }

    /// Says in the crash record who is behind the marks of this lane, until it is given back.
    pub(crate) fn note(&mut self, record: &CrashRecord, note: &Note) -> io::Result<()> {
        let path = record.note(self.lane.number());
        note.write(&path)?;
        self.note = Some(path);
        Ok(())
    }

    /// To be held by a thread while it runs a step of the life of the generation, in this process.
    pub(crate) fn mark(&self, step: Step) -> Marked {
        note_visitor(self.lane);
        Marked::new(self.lane, step)
    }

    /// The threads that ever ran code of the generation.
    pub(super) fn visitors(&self) -> BTreeSet<Tid> {
        LEDGER.lock()[self.lane.0].visitors.clone()
    }

    /// Calls and failed calls of all threads so far.
    pub(super) fn total(&self) -> Calls {
        // Held until the end, so that no thread settles in between and is counted twice or not at all.
        let ledger = LEDGER.lock();
        let mut total = ledger[self.lane.0].calls;
        self.for_each(|count| {
            total += count.read();
        });
        total
    }

    fn for_each(&self, mut look: impl FnMut(&Count)) {
        for seat in SEATS.read().iter() {
            if let Some(chunk) = seat.counts[self.lane.0 / LANES_PER_CHUNK].get() {
                look(&chunk[self.lane.0 % LANES_PER_CHUNK]);
            }
        }
    }
}

impl Drop for LaneLease {
    fn drop(&mut self) {
        if let Some(note) = &self.note {
            // It may be gone with the run folder.
            let _ = fs::remove_file(note);
        }
        let mut ledger = LEDGER.lock();
        // No thread counts here any more: a lease is dropped with the last reference to its generation.
        self.for_each(|count| {
            count.take();
        });
        ledger[self.lane.0] = Account::default();
    }
}

/// How many calls there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// All that ended.
    pub(crate) calls: u64,
    /// Those of them that panicked or returned an error of the plugin's.
    pub(crate) failures: u64,
}

impl Calls {
    fn of(returned: u64, failures: u64) -> Self {
        Self { calls: returned + failures, failures }
    }
}

impl std::ops::AddAssign for Calls {
    fn add_assign(&mut self, other: Self) {
        self.calls += other.calls;
        self.failures += other.failures;
    }
}
