//! The content of a file, as a hash. The hash is kept with the metadata of the file, so that the file is read again
//! only if it may have changed.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

/// The metadata that shows whether a file was written or replaced: mtime, ctime, length, device and inode number. A
/// program that copies, moves or restores a file can set any mtime, but not the ctime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct InputStamp {
    modified: (i64, i64),
    changed: (i64, i64),
    bytes: u64,
    file: (u64, u64),
}

/// The stamp of a file, or `None` if the file does not exist.
pub(super) fn stamp(path: &Path) -> Option<InputStamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(InputStamp {
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
        bytes: metadata.len(),
        file: (metadata.dev(), metadata.ino()),
    })
}

/// The maximum by which file times lag behind the clock: the kernel uses the time of its last tick.
const TICK: Duration = Duration::from_millis(20);

impl InputStamp {
    /// Whether the file was last written or replaced before the file of `mark` was written, or in the same tick.
    fn is_before_write_of(&self, mark: &Self) -> bool {
        self.changed <= mark.modified
    }

    /// Whether the file was last written or replaced before `time`. Returns `false` in case of doubt.
    pub(super) fn is_before(&self, time: SystemTime) -> bool {
        let since_epoch =
            time.checked_sub(TICK).and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        since_epoch.is_some_and(|time| {
            let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
            self.modified.max(self.changed) < (seconds, i64::from(time.subsec_nanos()))
        })
    }
}

/// The content of a path at the time when it was read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct InputContent {
    stamp: Option<InputStamp>,
    /// `None` if the file did not exist.
    hash: Option<String>,
    read_at: SystemTime,
}

impl InputContent {
    /// The current content of `path`. The file is read only if it may differ from `known`, its previous content.
    pub(super) fn of(path: &Path, known: Option<&Self>) -> Self {
        let (stamp, read_at) = (stamp(path), SystemTime::now());
        if let Some(known) = known
            && known.stamp == stamp
            && stamp.is_none_or(|stamp| stamp.is_before(known.read_at))
        {
            return known.clone();
        }
        Self { stamp, hash: stamp.and_then(|_| hash(path)), read_at }
    }

    /// The stamp of the file, or `None` if the file did not exist.
    pub(super) fn stamp(&self) -> Option<InputStamp> {
        self.stamp
    }

    /// Whether both contents have the same bytes, or both stand for a missing file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.hash == other.hash
    }

    /// Whether the file exists and already had this content when the file of `mark` was written, or in the same tick.
    pub(super) fn is_older_than_write_of(&self, mark: &InputStamp) -> bool {
        self.stamp.is_some_and(|stamp| stamp.is_before_write_of(mark))
    }

    /// Whether the path already had this content before `time`.
    pub(super) fn is_older_than(&self, time: SystemTime) -> bool {
        self.stamp.is_none_or(|stamp| stamp.is_before(time))
    }
}

fn hash(path: &Path) -> Option<String> {
    match fs::File::open(path).and_then(digest) {
        Ok(hash) => Some(hash),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(format!("unreadable: {:?}", error.kind())),
    }
}

fn digest(mut file: fs::File) -> io::Result<String> {
    let (mut hasher, mut part) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        match file.read(&mut part)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&part[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_compared_by_bytes_and_not_by_mtime() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        fs::write(&path, "one").unwrap();
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let one = InputContent::of(&path, None);
        for (text, is_same) in [("two", false), ("one", true)] {
            fs::write(&path, text).unwrap();
            fs::File::options().append(true).open(&path).unwrap().set_modified(time).unwrap();
            assert_eq!(InputContent::of(&path, Some(&one)).is_same(&one), is_same, "{text}");
        }
        fs::remove_file(&path).unwrap();
        assert!(!InputContent::of(&path, Some(&one)).is_same(&one));
    }

    #[test]
    fn a_written_file_is_not_older_than_the_time_before_the_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        let before = SystemTime::now();
        fs::write(&path, "one").unwrap();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        fs::File::options().append(true).open(&path).unwrap().set_modified(old).unwrap();
        let content = InputContent::of(&path, None);
        assert!(!content.is_older_than(before), "only its mtime is old");
        assert!(content.is_older_than(SystemTime::now() + Duration::from_secs(1)));
    }
}
