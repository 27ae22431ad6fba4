//! Hashes of file contents, times of changes, and the names of files that never count as source code.

use super::poll::file_system_without_events;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// The content of a path. Equal values count as equal contents, except for [`Content::Unreadable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The file does not exist.
    Gone,
    /// The file is empty.
    Empty,
    /// A hash of the file's bytes or, for a link to a folder, of the link's target. For other folders and for files
    /// over 16 MiB, a hash of size and modification time.
    Hash(u64),
    /// The file exists but cannot be read. Equal values of this variant say nothing about the contents.
    Unreadable(io::ErrorKind),
}

/// The size in bytes above which files are compared by size and modification time. Hashing them would take longer
/// than a small build.
const HASHED_BYTES: u64 = 16 << 20;

impl Content {
    /// The current content of the file at `path`.
    pub fn of(path: &Path) -> Self {
        let read = || -> io::Result<Option<u64>> {
            let metadata = fs::metadata(path)?;
            let mut hasher = DefaultHasher::new();
            if let (true, Ok(target)) = (metadata.is_dir(), fs::read_link(path)) {
                target.hash(&mut hasher);
            } else if !metadata.is_file() || metadata.len() > HASHED_BYTES {
                (metadata.len(), metadata.modified()?, metadata.is_dir()).hash(&mut hasher);
            } else {
                let bytes = fs::read(path)?;
                if bytes.is_empty() {
                    return Ok(None);
                }
                bytes.hash(&mut hasher);
            }
            Ok(Some(hasher.finish()))
        };
        match read() {
            Ok(Some(hash)) => Self::Hash(hash),
            Ok(None) => Self::Empty,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Gone,
                kind => Self::Unreadable(kind),
            },
        }
    }
}

/// The ctime of a file: when the kernel last recorded a write, a move to this path, or a new link. Programs can set the
/// mtime, but not the ctime. For a deleted file, the result is the ctime of the nearest existing folder above it.
///
/// Returns `None` if another machine sets the time, so that it cannot be compared with this machine's clock.
pub fn changed_at(path: &Path) -> Option<SystemTime> {
    if file_system_without_events(path).is_some() {
        return None;
    }
    let metadata = path.ancestors().find_map(|it| fs::symlink_metadata(it).ok())?;
    let nanoseconds = u64::try_from(metadata.ctime_nsec()).ok()?;
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
}

/// The time at which `path` was saved: its mtime if that is at most 10 seconds before `noticed`, the time at which the
/// event arrived. Otherwise `noticed`.
pub(super) fn saved_at(path: &Path, noticed: SystemTime) -> SystemTime {
    let Ok(modified) = fs::metadata(path).and_then(|metadata| metadata.modified()) else { return noticed };
    // An old mtime is not used, because a file that was moved here keeps its mtime. An mtime in the future is not used,
    // because it comes from a wrong clock, such as that of another machine.
    match noticed.duration_since(modified) {
        Ok(age) if age <= Duration::from_secs(10) => modified,
        _ => noticed,
    }
}

/// Whether a file or folder with this name never counts as source code, because it is hidden, a backup, or written by a
/// build.
pub(crate) fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || name == "target"
        || name == "4913" // Vim creates this file to test whether the folder is writable.
        || (name.starts_with('#') && name.ends_with('#'))
        || (name.starts_with("sed") && name.len() == 9 && !name.contains('.')) // sed's own temporary file
        || ["~", ".tmp", ".bak", ".orig"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whether any part of the path from `dir` to `path` is ignored.
pub(crate) fn is_ignored_below(dir: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().any(|part| is_ignored(&part.as_os_str().to_string_lossy()))
}
