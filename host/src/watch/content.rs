//! What a file holds, in a few bytes; and which files no one means when they say "source".

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::Path,
    time::{Duration, SystemTime},
};

/// What a path holds. Two equal ones hold the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Gone,
    Hash(u64),
    /// It is there and cannot be read, which is not the same as unchanged.
    Unreadable(io::ErrorKind),
}

/// Larger files are told apart by length and time: hashing them would take longer than a small build.
const HASHED_BYTES: u64 = 16 << 20;

impl Content {
    pub(super) fn of(path: &Path) -> Self {
        let read = || -> io::Result<u64> {
            let metadata = fs::metadata(path)?;
            let mut hasher = DefaultHasher::new();
            if !metadata.is_file() || metadata.len() > HASHED_BYTES {
                (metadata.len(), metadata.modified()?, metadata.is_dir()).hash(&mut hasher);
            } else {
                fs::read(path)?.hash(&mut hasher);
            }
            Ok(hasher.finish())
        };
        match read() {
            Ok(hash) => Self::Hash(hash),
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Gone,
                kind => Self::Unreadable(kind),
            },
        }
    }
}

/// When `path` was saved, as well as one can tell; `noticed` is when its event came.
pub(super) fn saved_at(path: &Path, noticed: SystemTime) -> SystemTime {
    let Ok(modified) = fs::metadata(path).and_then(|metadata| metadata.modified()) else { return noticed };
    // A file moved here from elsewhere keeps its old time, and a clock may be wrong.
    match noticed.duration_since(modified) {
        Ok(age) if age <= Duration::from_secs(10) => modified,
        _ => noticed,
    }
}

/// Whether a file or folder of this name never is source: hidden, a backup, or made by a build.
pub(super) fn is_ignored(name: &str) -> bool {
    name.starts_with('.')
        || name == "target"
        || name == "4913" // vim's probe whether it may write here
        || (name.starts_with('#') && name.ends_with('#'))
        || (name.starts_with("sed") && name.len() == 9 && !name.contains('.')) // sed's own temporary file
        || ["~", ".tmp", ".bak", ".orig"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whether anything on the way from `dir` to `path` is ignored.
pub(super) fn is_ignored_below(dir: &Path, path: &Path) -> bool {
    let below = path.strip_prefix(dir).unwrap_or(path);
    below.components().any(|part| is_ignored(&part.as_os_str().to_string_lossy()))
}
