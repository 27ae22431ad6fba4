//! The folders into which rustc writes when the recorded call of a template is repeated.

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A set of output folders, which one template uses. A lock excludes all other templates from them, including those of
/// other processes.
#[derive(Debug)]
pub(super) struct OutDirs {
    /// The common prefix of the folders' paths.
    base: OsString,
    finished: AtomicU64,
    _alone: fs::File,
}

impl OutDirs {
    /// Takes the first free set of folders. The paths of all sets begin with `path`, followed by the number of the set.
    pub(super) fn take(path: &Path) -> io::Result<Self> {
        let mut number = 0_u32;
        loop {
            let mut base = path.to_owned().into_os_string();
            base.push(format!("-{number}"));
            let mut lock = base.clone();
            lock.push(".lock");
            let alone = fs::File::create(lock)?;
            match flock(&alone, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { base, finished: AtomicU64::new(0), _alone: alone }),
                Err(Errno::WOULDBLOCK) => number += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Empties the folder to which rustc writes. Every run uses the same path. If the path changed, rustc's incremental
    /// cache would treat every codegen unit that has debug information as changed, and rustc would compile all of them
    /// again.
    pub(super) fn empty(&self) -> io::Result<PathBuf> {
        let folder = self.path("-out");
        remove(&folder)?;
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Moves files from rustc's output folder to another folder, so that the next run does not overwrite them. Two
    /// folders are used in turn, because the host may still be using the previous output. The files are moved one by
    /// one, and not with their folder, from which rustc may still be removing temporary files.
    pub(super) fn finish<const N: usize>(&self, names: [String; N]) -> io::Result<[PathBuf; N]> {
        let is_even = self.finished.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        let (from, to) = (self.path("-out"), self.path(if is_even { "-even" } else { "-odd" }));
        remove(&to)?;
        fs::create_dir_all(&to)?;
        names.iter().try_for_each(|name| fs::rename(from.join(name), to.join(name)))?;
        Ok(names.map(|name| to.join(name)))
    }

    /// A path that belongs to this set of folders.
    pub(super) fn path(&self, suffix: &str) -> PathBuf {
        let mut path = self.base.clone();
        path.push(suffix);
        path.into()
    }
}

/// Removes a folder with its content, if it exists.
fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
