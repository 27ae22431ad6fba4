//! The memory of the crash record: a sealed file without a name. Only processes that have a descriptor of the file can
//! access it.
//!
//! The file is mapped once, at an address that the kernel chooses, and stays mapped, so that a thread can keep a
//! reference to its *marks*: words that each say which method or lifecycle step of which generation a call runs. The
//! file is in memory, not on disk: another process could truncate a file on disk, or the disk could become full, and
//! then a thread that writes a mark would get SIGBUS. If there is a [parent](crate::parent) or a
//! [recorder](crate::recorder), it outlives this process, holds the same file, and writes its content to disk.
//!
//! **Architecture Invariant:** replug never maps memory at a fixed address, so it never replaces an existing mapping.
//! The only exception is `forked`, in a forked child, whose marks are not part of the record.

use super::layout::{ADDRESSES, FAULT_AT, HEADER_BYTES, RECORD_BYTES, THREAD_SLOT_BYTES, THREAD_SLOTS};
use crate::registry::thread_slot::MAX_DEPTH;
use rustix::{
    fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, memfd_create},
    mm::{MapFlags, MremapFlags, ProtFlags, mmap, mmap_anonymous, mremap_fixed},
};
use std::{
    fs::File,
    io,
    ptr::null_mut,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64},
    },
};

/// The marks of the nested calls that a thread runs, the outermost first.
pub(in crate::registry) type Marks = [AtomicU64; MAX_DEPTH];

/// The [`Fault`](super::layout::Fault) in the memory, as atomics: how the process terminates.
#[repr(C)]
pub(super) struct FaultCell {
    pub(super) kind: AtomicU32,
    pub(super) signal: AtomicU32,
    pub(super) mark: AtomicU64,
    pub(super) addresses: [AtomicU64; ADDRESSES],
}

/// The mapped memory of the record.
struct Region {
    start: *mut u8,
    /// The file that is mapped. Without it, no other process sees the marks.
    shared: Option<SharedRegion>,
}

// SAFETY: code of this process accesses the memory at `start` only through atomics. Otherwise, only the kernel accesses
// it: in `pwrite`, and for other users of the file.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The file of the region, and the other process that holds it.
pub(super) struct SharedRegion {
    pub(super) file: File,
    pub(super) holder: Holder,
}

/// The other process that holds the record's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The process that started this one.
    Parent,
    /// No process yet.
    Nobody,
}

static REGION: OnceLock<Option<Region>> = OnceLock::new();
/// The memory file that the parent has created for this process.
static GIVEN: OnceLock<File> = OnceLock::new();

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
/// The seals fix the length: no process can truncate the file while others have it mapped.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Creates the memory file for a crash record, and allocates all of its memory.
///
/// # Errors
///
/// * The error of the kernel, for example if it does not support sealed memory, or is out of memory
pub(crate) fn make() -> io::Result<File> {
    let file = memfd_create("replug-thread_slots", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fallocate(&file, FallocateFlags::empty(), 0, RECORD_BYTES as u64)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Makes `file`, which the parent has created and keeps open, the memory of this process's crash record. Has no effect
/// after an earlier call, or after the memory of the record was mapped.
///
/// # Errors
///
/// * The error of the kernel; [`io::ErrorKind::InvalidData`] if the file was not created by [`make`]
pub(crate) fn adopt(file: File) -> io::Result<()> {
    if !fcntl_get_seals(&file)?.contains(SEALS) || file.metadata()?.len() != RECORD_BYTES as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // An error means that this function was called before. A process has only one parent.
    let _ = GIVEN.set(file);
    Ok(())
}

fn region() -> Option<&'static Region> {
    REGION.get_or_init(|| shared().or_else(|_| private()).ok()).as_ref()
}

fn shared() -> io::Result<Region> {
    let (file, holder) = match GIVEN.get() {
        Some(given) => (given.try_clone()?, Holder::Parent),
        None => (make()?, Holder::Nobody),
    };
    // SAFETY: the kernel picks an address at which nothing is mapped.
    let start = unsafe { mmap(null_mut(), RECORD_BYTES, READ_WRITE, MapFlags::SHARED, &file, 0) }?;
    // SAFETY: `forked` is a function of this program, which is never unmapped. If the C library has no memory to
    // register it, a forked child overwrites this process's marks.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    Ok(Region { start: start.cast(), shared: Some(SharedRegion { file, holder }) })
}

fn private() -> io::Result<Region> {
    // SAFETY: the kernel picks an address at which nothing is mapped.
    let start = unsafe { mmap_anonymous(null_mut(), RECORD_BYTES, READ_WRITE, MapFlags::PRIVATE) }?;
    Ok(Region { start: start.cast(), shared: None })
}

/// Gives a forked child marks of its own, so that it does not overwrite those of the process that forked. `fork` calls
/// this in the child, on its only thread.
unsafe extern "C" fn forked() {
    let Some(region) = REGION.get().and_then(Option::as_ref) else { return };
    // SAFETY: the kernel picks an address at which nothing is mapped.
    let own = unsafe { mmap_anonymous(null_mut(), RECORD_BYTES, READ_WRITE, MapFlags::PRIVATE) };
    let Ok(own) = own else { return };
    // SAFETY: `own` was just mapped, and no other code uses it. `own` replaces the region, in the child only:
    // references into the region read zeros from their atomics from now on, and nothing else changes for them. If the
    // call fails, for example because the kernel has no memory left, the region is either still shared, and the child
    // overwrites this process's marks, or it is already unmapped, and the child gets SIGSEGV when it next calls a
    // plugin.
    let _ =
        unsafe { mremap_fixed(own, RECORD_BYTES, RECORD_BYTES, MremapFlags::MAYMOVE, region.start.cast()) };
}

/// The memory file and its holder; `None` if other processes cannot access the marks.
pub(super) fn memory() -> Option<&'static SharedRegion> {
    region()?.shared.as_ref()
}

/// The marks of the thread slot with that number. A thread slot is the memory of one thread that calls plugins. If the
/// crash record has no room for the slot, the marks are in other memory, which other processes cannot read.
pub(in crate::registry) fn marks(thread_slot: usize) -> &'static Marks {
    match region() {
        Some(region) if thread_slot < THREAD_SLOTS => {
            // SAFETY: the place of the thread slot is within the region, which is never unmapped. The place is aligned
            // for the atomics, because its offset is a multiple of their size. Any bytes are valid values.
            unsafe { &*region.start.add(HEADER_BYTES + thread_slot * THREAD_SLOT_BYTES).cast() }
        }
        _ => Box::leak(Box::new(std::array::from_fn(|_| AtomicU64::new(0)))),
    }
}

/// Where to record how the process terminates; `None` until the memory is mapped. Safe to call in a signal handler.
pub(super) fn fault() -> Option<&'static FaultCell> {
    let region = REGION.get()?.as_ref()?;
    // SAFETY: as in `marks`: the cell is within the header, at a multiple of its alignment.
    Some(unsafe { &*region.start.add(FAULT_AT).cast() })
}

/// Writes the whole crash record to the beginning of a file. Safe to call in a signal handler.
pub(super) fn write_to(descriptor: std::os::fd::RawFd) {
    let Some(region) = REGION.get().and_then(Option::as_ref) else { return };
    let mut done = 0;
    while done < RECORD_BYTES {
        // SAFETY: the rest of the region from `done` on is mapped, and the kernel only reads it.
        let written = unsafe {
            libc::pwrite(descriptor, region.start.add(done).cast(), RECORD_BYTES - done, done as libc::off_t)
        };
        match usize::try_from(written) {
            Ok(0) | Err(_) => return,
            Ok(written) => done += written,
        }
    }
}
