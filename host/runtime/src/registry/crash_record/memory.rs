//! The memory that the record lies in: a sealed file without a name, which only those know who hold a descriptor of it.
//!
//! It is mapped once, where the kernel likes, and stays at its address, so that a thread may hold on to its marks. It is no
//! file of a file system: what lies there can neither be cut off nor run out of room while a thread writes to it, both of
//! which the kernel would answer with SIGBUS in the middle of a call. A process that outlives this one holds the same
//! file, and writes down what stands there: the [parent](crate::parent), or a [recorder](crate::recorder).
//!
//! **Architecture Invariant:** nothing is ever mapped in the place of something else in this process; only in a child that
//! it forks, whose marks are no part of the record.

use super::layout::{ADDRESSES, FAULT_AT, HEADER_BYTES, RECORD_BYTES, SEAT_BYTES, THREAD_SLOTS};
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

/// What a thread says of the calls that it is inside, the outermost first.
pub(in crate::registry) type Marks = [AtomicU64; MAX_DEPTH];

/// What is known of the end, as the process that ends writes it.
#[repr(C)]
pub(super) struct FaultCell {
    pub(super) kind: AtomicU32,
    pub(super) signal: AtomicU32,
    pub(super) mark: AtomicU64,
    pub(super) addresses: [AtomicU64; ADDRESSES],
}

struct Region {
    start: *mut u8,
    /// What is mapped there; without it, no other process sees what is written.
    shared: Option<Shared>,
}

// SAFETY: what lies at `start` is only ever reached as atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

/// The file of the region, and who else holds it.
pub(super) struct Shared {
    pub(super) file: File,
    pub(super) holder: Holder,
}

/// Who holds the record's memory beside this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    /// The process that has started this one.
    Parent,
    /// No one yet.
    Nobody,
}

static REGION: OnceLock<Option<Region>> = OnceLock::new();
/// What the parent has made for this process.
static GIVEN: OnceLock<File> = OnceLock::new();

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);
/// The length is what it is: no one may make the file shorter under those who have mapped it.
const SEALS: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// Makes memory for a record, all of which has its room from the beginning.
///
/// # Errors
///
/// * What the kernel says, such as that it knows no sealed memory, or has none left
pub(crate) fn make() -> io::Result<File> {
    let file = memfd_create("replug-thread_slots", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fallocate(&file, FallocateFlags::empty(), 0, RECORD_BYTES as u64)?;
    fcntl_add_seals(&file, SEALS)?;
    Ok(file.into())
}

/// Takes memory that another process has made and holds, unless this process has its own already.
///
/// # Errors
///
/// * What the kernel says; [`io::ErrorKind::InvalidData`] if it is not what [`make`] makes
pub(crate) fn adopt(file: File) -> io::Result<()> {
    if !fcntl_get_seals(&file)?.contains(SEALS) || file.metadata()?.len() != RECORD_BYTES as u64 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // A process has one parent.
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
    // SAFETY: `forked` is a function of this program's, which is never unmapped. Without room for it, a forked child
    // writes its marks over this process's.
    unsafe { libc::pthread_atfork(None, None, Some(forked)) };
    Ok(Region { start: start.cast(), shared: Some(Shared { file, holder }) })
}

fn private() -> io::Result<Region> {
    // SAFETY: the kernel picks an address at which nothing is mapped.
    let start = unsafe { mmap_anonymous(null_mut(), RECORD_BYTES, READ_WRITE, MapFlags::PRIVATE) }?;
    Ok(Region { start: start.cast(), shared: None })
}

/// Gives a forked child marks of its own, so that it does not write over those of its parent. Called by `fork`, in the
/// child, on the only thread that it has.
unsafe extern "C" fn forked() {
    let Some(region) = REGION.get().and_then(Option::as_ref) else { return };
    // SAFETY: the kernel picks an address at which nothing is mapped.
    let own = unsafe { mmap_anonymous(null_mut(), RECORD_BYTES, READ_WRITE, MapFlags::PRIVATE) };
    let Ok(own) = own else { return };
    // SAFETY: `own` was just mapped, and no one else knows it. What it takes the place of is the region, in the child only:
    // references into it see zeros in their atomics from now on, and nothing else changes for them.
    // It fails only if the kernel has no memory left; the child then ends at its next call.
    let _ =
        unsafe { mremap_fixed(own, RECORD_BYTES, RECORD_BYTES, MremapFlags::MAYMOVE, region.start.cast()) };
}

/// What the marks are written to, if another process can see it.
pub(super) fn memory() -> Option<&'static Shared> {
    region()?.shared.as_ref()
}

/// The marks of the thread slot of that number. Those of thread slots that have no place in the record are seen by no one outside.
pub(in crate::registry) fn marks(thread_slot: usize) -> &'static Marks {
    match region() {
        Some(region) if thread_slot < THREAD_SLOTS => {
            // SAFETY: the thread slot's place is within the region, which is never unmapped; it is aligned for the atomics, as all
            // that comes before it is a multiple of their size, and any bytes are valid ones.
            unsafe { &*region.start.add(HEADER_BYTES + thread_slot * SEAT_BYTES).cast() }
        }
        _ => Box::leak(Box::new(std::array::from_fn(|_| AtomicU64::new(0)))),
    }
}

/// Where to say how the process ended; none before any thread had a thread_slot. Safe to call in a signal handler.
pub(super) fn fault() -> Option<&'static FaultCell> {
    let region = REGION.get()?.as_ref()?;
    // SAFETY: as in `marks`: it is within the header, at a multiple of its alignment.
    Some(unsafe { &*region.start.add(FAULT_AT).cast() })
}

/// Writes all of the record to a file, from its beginning. Safe to call in a signal handler.
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
