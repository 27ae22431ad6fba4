//! The memory that the record lies in: first nobody's, and once a host keeps a record, a file's.
//!
//! It stays at its address, so that a thread may hold on to its marks. What is mapped over it begins empty: a mark that
//! was written just before is lost, which costs a name in a record, and no more. Nothing that the program itself relies
//! on lies here.

use super::layout::{ADDRESSES, FAULT_AT, HEADER_BYTES, RECORD_BYTES, SEAT_BYTES, SEATS};
use crate::registry::seat::MAX_DEPTH;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};
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

struct Region(*mut u8);

// SAFETY: what lies there is only ever reached as atomics.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

static REGION: OnceLock<Option<Region>> = OnceLock::new();

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

fn region() -> Option<&'static Region> {
    let reserve = || {
        // SAFETY: the kernel picks an address at which nothing is mapped.
        let mapped = unsafe { mmap_anonymous(null_mut(), RECORD_BYTES, READ_WRITE, MapFlags::PRIVATE) };
        mapped.ok().map(|start| Region(start.cast()))
    };
    REGION.get_or_init(reserve).as_ref()
}

/// The marks of the seat of that number. Those of seats that have no place in the record are seen by no one outside.
pub(in crate::registry) fn marks(seat: usize) -> &'static Marks {
    match region() {
        Some(region) if seat < SEATS => {
            // SAFETY: the seat's place is within the region, which is never unmapped, only mapped anew at once and with
            // the same rights; it is aligned for the atomics, as all that comes before it is a multiple of their size,
            // and any bytes are valid ones.
            unsafe { &*region.0.add(HEADER_BYTES + seat * SEAT_BYTES).cast() }
        }
        _ => Box::leak(Box::new(std::array::from_fn(|_| AtomicU64::new(0)))),
    }
}

/// Where to say how the process ended; none before any thread had a seat. Safe to call in a signal handler.
pub(super) fn fault() -> Option<&'static FaultCell> {
    let region = REGION.get()?.as_ref()?;
    // SAFETY: as in `marks`: it is within the header, at a multiple of its alignment.
    Some(unsafe { &*region.0.add(FAULT_AT).cast() })
}

/// Puts a file of [`RECORD_BYTES`] in the place of what was there.
pub(super) fn map(file: &File) -> io::Result<()> {
    let region = region().ok_or(io::ErrorKind::OutOfMemory)?;
    let flags = MapFlags::SHARED | MapFlags::FIXED;
    // SAFETY: all that is replaced is the region, which is this module's; the references into it see other values of
    // their atomics from now on, and nothing else changes for them.
    unsafe { mmap(region.0.cast(), RECORD_BYTES, READ_WRITE, flags, file, 0) }?;
    Ok(())
}
