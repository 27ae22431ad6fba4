//! Removes private copies of artifacts that are no longer needed. Only the parts that are still mapped keep their disk
//! space.
//!
//! Much of a library's file is debug information, which is not loaded: in the sample calculator, with the default
//! profile, 2.5 of 3.7 MB. But a backtrace maps the whole file, and std keeps the most recent files mapped. So the file
//! is never truncated, because a thread that reads a mapping of the file would then get SIGBUS. Instead, a hole is
//! punched into the part that is not mapped. A process that opened the file before its removal, and maps it later,
//! reads zeros from the hole.

use parking_lot::Mutex;
use replug_model::copy::libraries_of_copy;
use rustix::fs::{FallocateFlags, fallocate};
use std::{
    fs::{self, File},
    io, mem,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

/// The largest page size on any Linux machine.
const PAGE_BYTES: u64 = 64 << 10;
/// How long removed copies are collected before the list of all mappings is read for them.
const COLLECT: Duration = Duration::from_secs(1);
/// The maximum number of removed copies that are collected. Each of them has an open descriptor.
const MOST_REMOVED: usize = 64;

/// The copies that have been removed and still have all their disk space.
static REMOVED: Mutex<Removed> = Mutex::new(Removed { copies: Vec::new(), is_scheduled: false });
/// Held while disk space is freed.
static FREEING: Mutex<()> = Mutex::new(());

struct Removed {
    copies: Vec<RemovedCopy>,
    /// Whether a thread will free the disk space.
    is_scheduled: bool,
}

/// When to free the disk space of the removed copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Now,
    /// After [`COLLECT`], on a thread that the caller has to start.
    Later,
    /// There is nothing to do: no copy was removed, or a thread is going to free the disk space.
    Settled,
}

impl Removed {
    /// Decides when the disk space is freed. The caller must carry out the decision.
    fn schedule(&mut self) -> When {
        match self.copies.len() {
            0 => When::Settled,
            count if count >= MOST_REMOVED => When::Now,
            _ if mem::replace(&mut self.is_scheduled, true) => When::Settled,
            _ => When::Later,
        }
    }
}

struct RemovedCopy {
    file: File,
    path: PathBuf,
    /// The end of the part that may be mapped.
    loaded: u64,
}

/// Removes the private copies of an artifact and of its libraries. [`give_back`] or [`give_back_later`] then frees the
/// disk space of the artifact, except for the first `loaded_bytes`, which may still be mapped.
pub fn clear_away(copy: &Path, loaded_bytes: u64) {
    let file = open_to_write(copy);
    // A mapping does not need the name of its file, and the next generation has its own copy. If the removal fails, the
    // file is removed with the run folder.
    let _ = fs::remove_file(copy);
    let _ = fs::remove_dir_all(libraries_of_copy(copy));
    if let Ok(file) = file {
        let loaded = loaded_bytes.next_multiple_of(PAGE_BYTES);
        REMOVED.lock().copies.push(RemovedCopy { file, path: copy.to_owned(), loaded });
    }
}

/// Frees the disk space of all copies that have been removed, except for the parts that are mapped. The function reads
/// the list of all mappings once, which takes milliseconds in a program with many plugins.
pub fn give_back() {
    // The lock is held until the end, so that a concurrent call returns only after this one has freed its copies.
    let _freeing = FREEING.lock();
    let copies = mem::take(&mut REMOVED.lock().copies);
    if copies.is_empty() {
        return;
    }
    // If the list of mappings cannot be read, or on a file system without holes, the space is freed when the file is
    // unmapped.
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for copy in copies.iter().filter(|_| !maps.is_empty()) {
        let _ = copy.free(&maps);
    }
}

/// Like [`give_back`], but on another thread and for all copies that are removed within a second. So a reload does not
/// take longer if the program has more mappings. If many copies are waiting, their disk space is freed immediately, on
/// the calling thread.
pub fn give_back_later() {
    let when = REMOVED.lock().schedule();
    let later = || {
        thread::sleep(COLLECT);
        REMOVED.lock().is_scheduled = false;
        give_back();
    };
    match when {
        When::Settled => {}
        When::Now => give_back(),
        When::Later => {
            if thread::Builder::new().name("replug-space".into()).spawn(later).is_err() {
                REMOVED.lock().is_scheduled = false;
                give_back();
            }
        }
    }
}

fn open_to_write(file: &Path) -> io::Result<File> {
    fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
    File::options().write(true).open(file)
}

impl RemovedCopy {
    /// Frees the disk space of the part that is not loaded, unless that part is mapped according to `maps`.
    fn free(&self, maps: &str) -> io::Result<()> {
        let Self { file, path, loaded } = self;
        let metadata = file.metadata()?;
        let is_read = |line: &str| is_read_behind(line, *loaded, (metadata.ino(), path));
        if metadata.len() > *loaded && !lines_about(maps, metadata.ino(), path).any(is_read) {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, hole, *loaded, metadata.len() - loaded)?;
        }
        Ok(())
    }
}

/// The lines of `maps` that contain the inode number or the path. A program with many plugins has thousands of
/// mappings, and only these lines are parsed. If the path is not UTF-8, all lines are returned.
fn lines_about<'a>(maps: &'a str, inode: u64, path: &Path) -> impl Iterator<Item = &'a str> {
    let inode = format!(" {inode} ");
    let needles = match path.to_str() {
        Some(path) => vec![inode, path.to_owned()],
        None => vec!["\n".to_owned()],
    };
    needles.into_iter().flat_map(|needle| {
        let found: Vec<_> = maps.match_indices(&needle).map(|(at, _)| at).collect();
        found.into_iter().filter_map(|at| {
            let start = maps[..at].rfind('\n').map_or(0, |end| end + 1);
            maps[start..].lines().next()
        })
    })
}

/// Whether a line of `/proc/<pid>/maps` maps that file beyond this offset. Returns `true` for a line that cannot be
/// parsed.
fn is_read_behind(line: &str, place: u64, (inode, path): (u64, &Path)) -> bool {
    let mut columns = line.split_whitespace();
    let mut next = || columns.next();
    let (Some(range), Some(rights), Some(offset), Some(_), Some(found)) =
        (next(), next(), next(), next(), next())
    else {
        return true;
    };
    // On some file systems, a mapping shows a different inode number than the file.
    let of_file = found.parse() == Ok(inode) || path.to_str().is_none_or(|path| line.contains(path));
    // The loader leaves gaps between its segments. They are not readable.
    if !of_file || !rights.starts_with('r') {
        return false;
    }
    let number = |text| u64::from_str_radix(text, 16).ok();
    let end = || {
        let (start, end) = range.split_once('-')?;
        number(offset)?.checked_add(number(end)?.checked_sub(number(start)?)?)
    };
    end().is_none_or(|end| end > place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
    use std::{os::unix::fs::FileExt, ptr::null_mut};

    const LENGTH: usize = 1 << 20;
    const LOADED: u64 = 100_000;

    /// Makes a copy, as the store does, and runs `meanwhile`, which clears the copy away. Returns the disk space of the
    /// file in bytes, and the file, which has no name any more.
    fn cleared_away(meanwhile: impl FnOnce(&File, &mut dyn FnMut())) -> (u64, File) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("plugin-1.so");
        fs::write(&copy, vec![7; LENGTH]).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o400)).unwrap();
        let file = File::open(&copy).unwrap();
        meanwhile(&file, &mut || {
            clear_away(&copy, LOADED);
            give_back();
        });
        assert!(!copy.exists());
        assert_eq!(file.metadata().unwrap().len(), LENGTH as u64, "the file was truncated");
        (file.metadata().unwrap().blocks() * 512, file)
    }

    #[test]
    fn an_unmapped_copy_keeps_only_the_disk_space_of_its_loaded_part() {
        let (bytes, file) = cleared_away(|_, clear_away| clear_away());
        assert!((LOADED..LENGTH as u64 / 2).contains(&bytes), "{bytes}");
        let mut loaded = vec![0; LOADED as usize];
        file.read_exact_at(&mut loaded, 0).unwrap();
        assert!(loaded.iter().all(|byte| *byte == 7));
    }

    #[test]
    fn a_copy_that_is_mapped_as_a_whole_keeps_its_disk_space() {
        let (bytes, _) = cleared_away(|file, clear_away| {
            // SAFETY: the kernel picks an address at which nothing is mapped.
            let start =
                unsafe { mmap(null_mut(), LENGTH, ProtFlags::READ, MapFlags::PRIVATE, file, 0) }.unwrap();
            clear_away();
            // SAFETY: the whole file is mapped, and no code changes it.
            let seen = unsafe { std::slice::from_raw_parts(start.cast::<u8>(), LENGTH) };
            assert!(seen.iter().all(|byte| *byte == 7));
            // SAFETY: the file was mapped above, and `seen` is not used after this.
            unsafe { munmap(start, LENGTH) }.unwrap();
        });
        assert!(bytes >= LENGTH as u64, "{bytes}");
    }

    #[test]
    fn removed_copies_are_collected_up_to_a_maximum() {
        let mut removed = Removed { copies: Vec::new(), is_scheduled: false };
        assert_eq!(removed.schedule(), When::Settled, "no copy was removed");
        let copy = || RemovedCopy { file: tempfile::tempfile().unwrap(), path: PathBuf::new(), loaded: 0 };
        removed.copies.push(copy());
        assert_eq!([removed.schedule(), removed.schedule()], [When::Later, When::Settled]);
        removed.copies.resize_with(MOST_REMOVED, copy);
        assert_eq!(removed.schedule(), When::Now, "although a thread is going to free the disk space");
    }

    #[test]
    fn only_a_readable_mapping_beyond_the_offset_counts() {
        let path = Path::new("/run/p-1.so");
        let line = |rights: &str, offset: u64, inode: u64, name: &str| {
            format!("7f0000000000-7f0000010000 {rights} {offset:08x} fe:00 {inode} {name}")
        };
        let is_read = |line: &str| is_read_behind(line, 0x20000, (42, path));
        assert!(is_read(&line("r--p", 0x20000, 42, "/run/p-1.so (deleted)")));
        assert!(
            is_read(&line("r-xp", 0x20000, 7, "/run/p-1.so (deleted)")),
            "the inode differs, and the name is the same"
        );
        assert!(is_read(&line("r--p", 0x18000, 42, "")));
        assert!(!is_read(&line("r--p", 0x10000, 42, "/run/p-1.so")), "it ends at the offset");
        assert!(!is_read(&line("---p", 0x20000, 42, "/run/p-1.so")), "it is not readable");
        assert!(!is_read(&line("r--p", 0x20000, 43, "/run/p-2.so")));
        assert!(is_read("nonsense") && is_read("x-y r--p z fe:00 42"));
    }
}
