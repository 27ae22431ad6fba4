//! The ledger. Each living generation owns a *column*: a position in the counts of every thread slot. For each column,
//! the ledger has the calls of the threads that have exited, and the *visitors*: the threads that have counted a call
//! of the column's generation.

use super::{COLUMNS, Calls, Count, THREAD_SLOTS, Tid, own_tid};
use crate::registry::{
    crash_record::{CrashRecord, Note},
    mark::{Mark, Marked},
};
use parking_lot::Mutex;
use replug_model::step::Step;
use std::{collections::BTreeSet, fs, io, path::PathBuf};

/// The data of one column in the ledger.
#[derive(Debug, Default)]
struct Account {
    taken: bool,
    /// The calls of threads that have exited.
    calls: Calls,
    /// The threads that have counted a call of the generation, by their kernel ids.
    visitors: BTreeSet<Tid>,
}

/// All accounts, by column.
static LEDGER: Mutex<Vec<Account>> = Mutex::new(Vec::new());

/// Adds the counts of the calling thread, which is exiting, to the ledger.
pub(super) fn settle(counts: &[Count]) {
    let tid = own_tid();
    // A thread becomes a visitor of a generation with its first call. The counts of the other generations are not read:
    // in a program with many plugins, they are many.
    for (account, count) in LEDGER.lock().iter_mut().zip(counts).filter(|it| it.0.visitors.contains(&tid)) {
        account.calls += count.take();
    }
}

/// Records that the calling thread has counted a call of the generation that has this column.
#[cold]
pub(super) fn note_visitor(column: CallColumn) {
    let tid = own_tid();
    if let Some(account) = LEDGER.lock().get_mut(column.0) {
        account.visitors.insert(tid);
    }
}

/// No column is free: as many generations are alive in this process as there are columns (4096).
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "4096 generations are alive in this process: calls that never return keep old ones from retiring; restart the host"
)]
pub struct TooManyGenerations;

replug_model::readable::readable!(TooManyGenerations);

/// The column that a living generation owns. Dropping this value, when the generation has retired, frees the column.
#[derive(Debug)]
pub struct ColumnLease {
    column: CallColumn,
    /// The file that describes the generation of this column.
    note: Option<PathBuf>,
}

/// See [`ColumnLease`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct CallColumn(usize);

impl CallColumn {
    /// The number of the column, less than 4096.
    pub(in crate::registry) fn number(self) -> usize {
        self.0
    }

    #[cfg(test)]
    pub(in crate::registry) fn numbered(number: usize) -> Self {
        Self(number)
    }
}

impl ColumnLease {
    /// Takes a free column.
    pub(crate) fn take() -> Result<Self, TooManyGenerations> {
        let mut ledger = LEDGER.lock();
        let free = ledger.iter().position(|account| !account.taken).unwrap_or(ledger.len());
        if free == COLUMNS {
            return Err(TooManyGenerations);
        }
        if free == ledger.len() {
            ledger.push(Account::default());
        }
        ledger[free].taken = true;
        Ok(Self { column: CallColumn(free), note: None })
    }

    pub(in crate::registry) fn column(&self) -> CallColumn {
        self.column
    }

    /// Writes the note of this column, which describes the generation to the reader of the crash record. The note is
    /// removed when this lease is dropped.
    pub(crate) fn note(&mut self, record: &CrashRecord, note: &Note) -> io::Result<()> {
        // A part of the note may be written even if this fails.
        note.write(self.note.insert(record.note(self.column.number())))
    }

    /// Marks the calling thread, in the crash record, as running this lifecycle step of the generation, for as long as
    /// the result exists. The step must run in this process.
    pub(crate) fn mark(&self, step: Step) -> Marked {
        self.marks().step(step)
    }

    /// Returns a value that marks threads of this process as running code of the generation.
    pub(crate) fn marks(&self) -> ColumnMarks {
        ColumnMarks(self.column)
    }

    /// The calls of all threads so far.
    pub(in crate::registry) fn total(&self) -> Calls {
        // The lock is held until the end. Otherwise, an exiting thread could move its counts to the ledger after
        // `calls` was read and before its slot is read, and its calls would be missing.
        let ledger = LEDGER.lock();
        let mut total = ledger[self.column.0].calls;
        self.for_each(|count| {
            total += count.read();
        });
        total
    }

    fn for_each(&self, mut look: impl FnMut(&Count)) {
        for thread_slot in THREAD_SLOTS.read().iter() {
            look(thread_slot.count(self.column));
        }
    }
}

/// Marks threads as running code of the generation that owns this column. Must not be used after the column was
/// released, because another generation may own it then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnMarks(CallColumn);

impl ColumnMarks {
    /// Marks the calling thread as running a lifecycle step, for as long as the result exists.
    pub(crate) fn step(self, step: Step) -> Marked {
        Marked::new(Mark::step(self.0, step))
    }

    /// Marks the calling thread as running a method of the interface at this position, for as long as the result
    /// exists.
    pub(crate) fn call(self, interface: usize, method: u32) -> Marked {
        Marked::new(Mark::interface(self.0, interface).method(method))
    }
}

impl Drop for ColumnLease {
    fn drop(&mut self) {
        if let Some(note) = &self.note {
            // An error means that the note was removed with the run folder.
            let _ = fs::remove_file(note);
        }
        let mut ledger = LEDGER.lock();
        // No thread counts calls in this column any more, because a lease is dropped with the last reference to its
        // generation.
        self.for_each(|count| {
            count.take();
        });
        ledger[self.column.0] = Account::default();
    }
}
