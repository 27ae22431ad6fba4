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
    collections::HashMap,
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
    for copy in unmapped(&maps, copies).filter(|_| !maps.is_empty()) {
        let _ = copy.free();
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
    /// Frees the disk space of the part that is not loaded.
    fn free(&self) -> io::Result<()> {
        let bytes = self.file.metadata()?.len();
        if bytes > self.loaded {
            let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.file, hole, self.loaded, bytes - self.loaded)?;
        }
        Ok(())
    }
}

/// The copies of which, according to `maps`, only the loaded part is mapped. Reads each line once: a program with many
/// plugins has thousands of mappings, and many copies may be waiting.
fn unmapped(maps: &str, mut copies: Vec<RemovedCopy>) -> impl Iterator<Item = RemovedCopy> {
    // On some file systems, a mapping shows a different inode number than the file. So the path counts, too.
    let mut wanted: HashMap<FileKey<'_>, Vec<usize>> = HashMap::new();
    let mut mapped = vec![false; copies.len()];
    for (at, copy) in copies.iter().enumerate() {
        match (copy.file.metadata(), copy.path.to_str()) {
            (Ok(metadata), Some(path)) => {
                wanted.entry(FileKey::Inode(metadata.ino())).or_default().push(at);
                wanted.entry(FileKey::Path(path)).or_default().push(at);
            }
            _ => mapped[at] = true,
        }
    }
    for line in maps.lines() {
        let Some(mapping) = Mapping::parse(line) else {
            mapped.fill(true);
            break;
        };
        for key in [FileKey::Inode(mapping.inode), FileKey::Path(mapping.path)] {
            for at in wanted.get(&key).into_iter().flatten() {
                // An unreadable mapping does not count: it is a gap that the loader leaves between two segments.
                mapped[*at] |= mapping.is_readable && mapping.end > copies[*at].loaded;
            }
        }
    }
    let mut mapped = mapped.into_iter();
    copies.retain(|_| mapped.next() == Some(false));
    copies.into_iter()
}

/// What a file is recognized by in the list of mappings.
#[derive(PartialEq, Eq, Hash)]
enum FileKey<'a> {
    Inode(u64),
    Path(&'a str),
}

/// A line of `/proc/<pid>/maps`.
struct Mapping<'a> {
    is_readable: bool,
    /// The offset in the file at which the mapping ends.
    end: u64,
    inode: u64,
    /// The path of the file when it was mapped. Empty for memory without a file.
    path: &'a str,
}

impl<'a> Mapping<'a> {
    /// Reads `START-END RIGHTS OFFSET DEVICE INODE PATH`. After the path of a removed file, the kernel writes
    /// ` (deleted)`.
    fn parse(line: &'a str) -> Option<Self> {
        let mut columns = line.splitn(6, ' ');
        let mut next = || columns.next();
        let (range, rights, offset, _, inode) = (next()?, next()?, next()?, next()?, next()?);
        let path = next().unwrap_or_default().trim_start();
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = range.split_once('-')?;
        Some(Self {
            is_readable: rights.starts_with('r'),
            end: number(offset)?.checked_add(number(end)?.checked_sub(number(start)?)?)?,
            inode: inode.parse().ok()?,
            path: path.strip_suffix(" (deleted)").unwrap_or(path),
        })
    }
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
    fn only_a_readable_mapping_beyond_the_loaded_part_counts() {
        let file = tempfile::tempfile().unwrap();
        let inode = file.metadata().unwrap().ino();
        let is_mapped = |maps: String| {
            let file = file.try_clone().unwrap();
            let copy = RemovedCopy { file, path: "/run/p-1.so".into(), loaded: 0x20000 };
            unmapped(&maps, vec![copy]).next().is_none()
        };
        let line = |rights: &str, offset: u64, inode: u64, path: &str| {
            let inode = format!("{inode} ");
            format!("7f0000000000-7f0000010000 {rights} {offset:08x} fe:00 {inode:<26}{path}\n")
        };
        let other = inode + 1;
        assert!(is_mapped(line("r--p", 0x20000, inode, "/run/p-1.so (deleted)")));
        assert!(
            is_mapped(line("r-xp", 0x20000, other, "/run/p-1.so (deleted)")),
            "the inode differs, and the path is the same"
        );
        assert!(is_mapped(line("r--p", 0x18000, inode, "")));
        let loaded = line("r--p", 0x10000, inode, "/run/p-1.so");
        assert!(!is_mapped(loaded.clone()), "it ends where the loaded part ends");
        assert!(
            is_mapped(loaded + &line("r--p", 0x20000, inode, "/run/p-1.so")),
            "the second line counts, too"
        );
        assert!(!is_mapped(line("---p", 0x20000, inode, "/run/p-1.so")), "it is not readable");
        assert!(!is_mapped(line("r--p", 0x20000, other, "/run/p-2.so")));
        for malformed in ["nonsense", "x-y r--p z fe:00 42", "2-1 r--p 0 fe:00 42"] {
            assert!(is_mapped(malformed.into()), "{malformed}");
        }
    }
}
