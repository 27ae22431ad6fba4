//! The content of a file in a few bytes, and files that are never source.

use super::poll::file_system_without_events;
use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// The content of a path. Equal values mean equal contents, except for [`Content::Unreadable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// There is no such file.
    Gone,
    /// The file is empty.
    Empty,
    /// A hash of the file's bytes; for a link to a folder, of the link's target.
    Hash(u64),
    /// The file exists but cannot be read. Equal values of this variant do not mean equal contents.
    Unreadable(io::ErrorKind),
}

/// Larger files are compared by length and time: hashing them would take longer than a small build.
const HASHED_BYTES: u64 = 16 << 20;

impl Content {
    /// The present content of this path.
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

/// When the kernel last noted a change of a file: a write, a move to this path, or a new link. Programs can set the
/// time of the last write, but not this time. For a deleted file, the result is the time of the last change of the
/// nearest existing folder above it.
///
/// `None` if the time cannot be compared with this machine's clock, because another machine sets it.
pub fn changed_at(path: &Path) -> Option<SystemTime> {
    if file_system_without_events(path).is_some() {
        return None;
    }
    let metadata = path.ancestors().find_map(|it| fs::symlink_metadata(it).ok())?;
    let nanoseconds = u64::try_from(metadata.ctime_nsec()).ok()?;
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds))
}

/// When `path` was saved, as accurately as possible; `noticed` is when its event arrived.
pub(super) fn saved_at(path: &Path, noticed: SystemTime) -> SystemTime {
    let Ok(modified) = fs::metadata(path).and_then(|metadata| metadata.modified()) else { return noticed };
    // A file that was moved here keeps its old time, and a clock may be wrong.
    match noticed.duration_since(modified) {
        Ok(age) if age <= Duration::from_secs(10) => modified,
        _ => noticed,
    }
}

/// Whether a file or folder of this name is never source: hidden, a backup, or made by a build.
pub(crate) fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || name == "target"
        || name == "4913" // vim's test whether it may write here
        || (name.starts_with('#') && name.ends_with('#'))
        || (name.starts_with("sed") && name.len() == 9 && !name.contains('.')) // sed's own temporary file
        || ["~", ".tmp", ".bak", ".orig"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whether any part of the path from `dir` to `path` is ignored.
pub(crate) fn is_ignored_below(dir: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().any(|part| is_ignored(&part.as_os_str().to_string_lossy()))
}
