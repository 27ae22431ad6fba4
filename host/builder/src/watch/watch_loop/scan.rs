//! Polls all watched files at an interval. By default, the watcher polls only if a file system does not report every
//! change.

use super::WatchLoop;
use crate::watch::{Poll, poll::file_system_without_events};
use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// The data from which the time of the next poll follows, and the stamps of the files at the last poll.
pub(super) struct Scan {
    poll: Poll,
    /// The name of a file system that does not report every change and that contains a watched folder.
    silent: Option<&'static str>,
    last: Instant,
    is_running: bool,
    stamps: HashMap<PathBuf, ScanStamp>,
}

/// Metadata that changes with every write to a file, even if a program sets the times of the file.
#[derive(Clone, Copy, PartialEq, Eq)]
struct ScanStamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

/// A file's stamp is reliable if the last change of the file is at least this old. A file with a more recent change may
/// change again within the same tick of the file system's clock, which is one second on some file systems.
const SETTLED: Duration = Duration::from_secs(2);

impl Scan {
    pub(super) fn new(poll: Poll) -> Self {
        Self { poll, silent: None, last: Instant::now(), is_running: false, stamps: HashMap::new() }
    }

    /// Records that a folder is watched now.
    pub(super) fn watches(&mut self, dir: &Path) {
        if self.poll != Poll::Auto || self.silent.is_some() {
            return;
        }
        self.silent = file_system_without_events(dir);
        if let Some(name) = self.silent {
            tracing::warn!(
                "{}: is on {name}, which does not report every change: all watched files are polled once a second; \
                 set `watch_poll` to another interval, or to \"never\"",
                dir.display()
            );
            self.last = Instant::now();
        }
    }

    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.last + self.poll.interval(self.silent.is_some())?)
    }

    /// Whether the files are being polled, and the file at `path` has not changed since the last poll. If so, the file
    /// need not be read.
    pub(super) fn is_as_it_was(&mut self, path: &Path) -> bool {
        if !self.is_running {
            return false;
        }
        let Ok(metadata) = fs::metadata(path) else {
            self.stamps.remove(path);
            return false;
        };
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        let stamp = ScanStamp { inode: metadata.ino(), bytes: metadata.len(), changed };
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let is_settled =
            i64::try_from(age.saturating_sub(SETTLED).as_secs()).is_ok_and(|then| changed.0 < then);
        if !is_settled || path.is_symlink() {
            self.stamps.remove(path);
            return false;
        }
        self.stamps.insert(path.to_owned(), stamp) == Some(stamp)
    }
}

impl WatchLoop {
    pub(super) fn scan_all(&mut self) {
        let noticed = SystemTime::now();
        self.scan.is_running = true;
        self.check_everything(noticed);
        for path in self.known.keys().cloned().collect::<Vec<_>>() {
            self.check(&path, super::Unknown::New, noticed);
        }
        let known = &self.known;
        self.scan.stamps.retain(|path, _| known.contains_key(path));
        self.scan.is_running = false;
        self.scan.last = Instant::now();
    }
}
