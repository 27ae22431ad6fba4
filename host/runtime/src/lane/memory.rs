//! The memory of a lane: two sealed files without a name, one for each direction.
//!
//! Seals fix the length of the files, so no access is beyond their end, whatever the other process does with its
//! descriptors. All pages are allocated and mapped when the lane is made, so the first calls cause no page faults.

#![allow(unsafe_code, reason = "docs/SAFETY.md says why each block holds")]

use rustix::{
    fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create},
    mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap},
};
use std::{
    io,
    ops::Deref,
    os::fd::{AsFd, OwnedFd},
    ptr::{NonNull, null_mut},
    sync::atomic::AtomicU64,
};

/// The seals that fix the length of a file.
const FIXED: SealFlags = SealFlags::SHRINK.union(SealFlags::GROW).union(SealFlags::SEAL);

/// One mapped file. Dropping it removes the mapping.
#[derive(Debug)]
pub(crate) struct LaneMapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory at `start` is only ever accessed as atomics, from whichever thread.
unsafe impl Send for LaneMapping {}
// SAFETY: as above.
unsafe impl Sync for LaneMapping {}

impl LaneMapping {
    /// Creates a file of `bytes`, which this process writes and another one reads. Returns the mapping, and the
    /// descriptor for the other process.
    ///
    /// # Errors
    ///
    /// * The kernel's error
    pub(super) fn to_write(bytes: usize) -> io::Result<(Self, OwnedFd)> {
        let file = make(bytes)?;
        let region = Self::map(&file, bytes, ProtFlags::READ | ProtFlags::WRITE)?;
        // Kernels before 5.1 do not have this seal, which keeps the other process from writing to the file. Without the
        // seal, that process can overwrite only what it reads itself: this process never reads from this file.
        let _ = fcntl_add_seals(&file, SealFlags::FUTURE_WRITE);
        fcntl_add_seals(&file, FIXED)?;
        Ok((region, file))
    }

    /// Creates a file of `bytes`, which another process writes and this one reads.
    ///
    /// # Errors
    ///
    /// * The kernel's error
    pub(super) fn to_read(bytes: usize) -> io::Result<(Self, OwnedFd)> {
        let file = make(bytes)?;
        fcntl_add_seals(&file, FIXED)?;
        Ok((Self::map(&file, bytes, ProtFlags::READ)?, file))
    }

    /// Maps a file for writing. Another process has created the file with [`LaneMapping::to_read`].
    ///
    /// # Errors
    ///
    /// * The kernel's error
    pub(super) fn written(file: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::map(file, bytes, ProtFlags::READ | ProtFlags::WRITE)
    }

    /// Maps a file for reading. Another process has created the file with [`LaneMapping::to_write`].
    ///
    /// # Errors
    ///
    /// * The kernel's error
    pub(super) fn read(file: impl AsFd, bytes: usize) -> io::Result<Self> {
        Self::map(file, bytes, ProtFlags::READ)
    }

    /// Maps `bytes` of a file, at least one word.
    fn map(file: impl AsFd, bytes: usize, protection: ProtFlags) -> io::Result<Self> {
        // On 32-bit machines, a load of 64 bits may be implemented by a write, which a read-only mapping does not
        // allow.
        if usize::BITS < u64::BITS {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let words = bytes / size_of::<AtomicU64>();
        if rustix::fs::fstat(&file)?.st_size != bytes as i64 || words == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: the kernel picks an address at which nothing is mapped.
        let start = unsafe { mmap(null_mut(), bytes, protection, flags, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        let region = Self { start, words };
        // A forked process must not take part in a call of the process that forked. Without the mapping, it cannot.
        // SAFETY: the advice concerns the mapping that was just made; it changes nothing in this process.
        let _ = unsafe { madvise(start.as_ptr().cast(), bytes, Advice::LinuxDontFork) };
        Ok(region)
    }
}

/// Creates a file, and allocates all of its memory.
fn make(bytes: usize) -> io::Result<OwnedFd> {
    let file = memfd_create("replug-lane", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    fallocate(&file, FallocateFlags::empty(), 0, bytes as u64)?;
    Ok(file)
}

impl Deref for LaneMapping {
    type Target = [AtomicU64];

    fn deref(&self) -> &[AtomicU64] {
        // SAFETY: `start` is the beginning of a mapping of at least `words` words, which lasts as long as `self`. It is
        // aligned, because a mapping begins at a page. All bytes are valid atomics, and only atomics access them in this
        // process; another process is outside of the memory model, and its stores are those of atomics. The file has all
        // its memory, and cannot shrink. If the mapping is read-only, it is only read: `LanePort` stores only to its own
        // region, and its loads from the other region are relaxed, which std allows for read-only memory.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for LaneMapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `map` with this length, and no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.words * size_of::<AtomicU64>()) };
    }
}
