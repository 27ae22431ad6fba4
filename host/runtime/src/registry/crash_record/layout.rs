//! The layout of the crash record: a page about the process and how it terminated, then the marks of each thread slot.
//!
//! Numbers are in the byte order of the machine: a record is read only on the machine that wrote it, before the
//! next boot.

use super::super::thread_slot::MAX_DEPTH;
use std::{fs, io, mem::size_of, process};

/// The number of threads whose marks are in the record. The marks of further threads are not visible to other
/// processes.
pub(super) const THREAD_SLOTS: usize = 1024;
pub(super) const HEADER_BYTES: usize = 4096;
pub(super) const THREAD_SLOT_BYTES: usize = MAX_DEPTH * size_of::<u64>();
pub(super) const RECORD_BYTES: usize = HEADER_BYTES + THREAD_SLOTS * THREAD_SLOT_BYTES;

/// The name of the record in a run folder.
pub(super) const RECORD_NAME: &str = "thread_slots";

const MAGIC: [u8; 8] = *b"replugCR";
const VERSION: u32 = 2;

const VERSION_AT: usize = 8;
const PID_AT: usize = 12;
const BOOT_AT: usize = 16;
const BOOT_BYTES: usize = 36;
/// The offset of the [`Fault`].
pub(super) const FAULT_AT: usize = 64;
const SIGNAL_AT: usize = FAULT_AT + 4;
const MARK_AT: usize = FAULT_AT + 8;
const ADDRESSES_AT: usize = FAULT_AT + 16;
/// How many addresses are recorded of the thread that terminated the process.
pub(super) const ADDRESSES: usize = 32;

/// How the process terminated, as far as is recorded. `None`, `Sent` and `Left` are replaced if the process records a
/// later kind in this list. `Exit` and `Raised` are final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Nothing was recorded.
    None = 0,
    /// A signal that another process sent, or that was not for a particular thread.
    Sent = 1,
    /// `main` returned, or a thread called `exit` outside of any call into a plugin.
    Left = 2,
    /// A thread called `exit` during a call into a plugin, or the process exited without running its exit handlers.
    Exit = 3,
    /// A thread caused a signal by an instruction, or raised one.
    Raised = 4,
    /// A thread is writing how the process terminates.
    Claimed = 5,
}

impl Kind {
    pub(super) fn of(number: u32) -> Option<Self> {
        [Self::None, Self::Sent, Self::Left, Self::Exit, Self::Raised, Self::Claimed]
            .into_iter()
            .find(|kind| *kind as u32 == number)
    }
}

/// The part of the record about how the process terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    pub(super) signal: i32,
    /// The mark of the thread that terminated the process.
    pub(super) mark: u64,
    /// After a signal: the address of the instruction that raised it, or 0. After an exit: the return addresses of the
    /// thread, the innermost first. The unused elements are 0.
    pub(super) addresses: [u64; ADDRESSES],
}

/// The part of the record about the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) pid: u32,
    boot: [u8; BOOT_BYTES],
}

impl Header {
    /// The header for this process.
    pub(super) fn own() -> io::Result<Self> {
        let boot = fs::read("/proc/sys/kernel/random/boot_id")?;
        let boot = boot.first_chunk().ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Self { pid: process::id(), boot: *boot })
    }

    /// A record in which no thread has a mark.
    pub(super) fn fresh_record(&self) -> Vec<u8> {
        let mut record = vec![0; RECORD_BYTES];
        let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(VERSION_AT, &VERSION.to_ne_bytes());
        put(PID_AT, &self.pid.to_ne_bytes());
        put(BOOT_AT, &self.boot);
        record
    }

    /// Reads the header. `None` if the record has a different format version, or was written before the last boot of
    /// the machine.
    pub(super) fn read(record: &[u8]) -> Option<Self> {
        let whole = record.len() == RECORD_BYTES;
        let ours = record.starts_with(&MAGIC) && number(record, VERSION_AT)? == VERSION;
        let own = Self::own().ok()?;
        let boot = record.get(BOOT_AT..BOOT_AT + BOOT_BYTES)?;
        (whole && ours && boot == own.boot).then_some(Self { pid: number(record, PID_AT)?, boot: own.boot })
    }
}

impl Fault {
    /// Reads this part of a record; `None` if the record is invalid.
    pub(super) fn read(record: &[u8]) -> Option<Self> {
        let kind = Kind::of(number(record, FAULT_AT)?)?;
        let mut addresses = [0; ADDRESSES];
        for (number, address) in addresses.iter_mut().enumerate() {
            *address = word(record, ADDRESSES_AT + number * size_of::<u64>())?;
        }
        Some(Self {
            kind,
            signal: number(record, SIGNAL_AT)?.cast_signed(),
            mark: word(record, MARK_AT)?,
            addresses,
        })
    }

    /// The bytes at [`FAULT_AT`] that another process writes after it has observed how this process terminated. The
    /// signal is 0 if there was no signal.
    pub(super) fn seen(kind: Kind, signal: i32) -> [u8; 8] {
        let [kind, signal] = [kind as u32, signal.cast_unsigned()].map(u32::to_ne_bytes);
        std::array::from_fn(|at| if at < 4 { kind[at] } else { signal[at - 4] })
    }
}

/// The marks of each thread slot, with the mark of the innermost call last.
pub(super) fn thread_slots(record: &[u8]) -> impl Iterator<Item = impl DoubleEndedIterator<Item = u64>> {
    let thread_slots = record.get(HEADER_BYTES..).unwrap_or_default().chunks_exact(THREAD_SLOT_BYTES);
    thread_slots
        .map(|thread_slot| thread_slot.chunks_exact(size_of::<u64>()).filter_map(|mark| word(mark, 0)))
}

fn number(record: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?))
}

fn word(record: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*record.get(at..)?.first_chunk()?))
}
