//! Watches all folders that contain an input, and all folders in which an input may appear.

use super::WatchLoop;
use crate::watch::{WatchError, paths::nearest_folder};
use notify::{RecursiveMode, Watcher as _};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The maximum number of attempts to watch a folder that is created and removed again and again.
const TRIES: u32 = 10;

impl WatchLoop {
    /// Watches a folder. If it does not exist, watches the nearest existing folder above it.
    pub(super) fn watch_toward(&mut self, dir: &Path) -> Result<(), WatchError> {
        let nearest = || dir.ancestors().find(|it| it.is_dir());
        let mut there = nearest();
        while let Some(folder) = there {
            match self.watch_if_open(folder) {
                // This user may lack the right to read a folder above `dir`, such as `/home`. That is no error.
                Err(_) if folder != dir => return Ok(()),
                watched => drop(watched?),
            }
            let now = nearest();
            if now == there {
                break;
            }
            there = now;
        }
        Ok(())
    }

    pub(super) fn watch(&mut self, dir: &Path) -> Result<(), WatchError> {
        if self.watched.contains(dir) {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            let source = match self.notify.watch(dir, RecursiveMode::NonRecursive) {
                Ok(()) => break,
                Err(source) => source,
            };
            tries += 1;
            match source.kind {
                // The folder was removed in the meantime. The watch of its parent reports when it is created again.
                _ if !dir.exists() => return Ok(()),
                // The folder was created after the attempt, so the next attempt may succeed.
                notify::ErrorKind::PathNotFound if tries < TRIES => {}
                _ => return Err(WatchError::new(dir, source)),
            }
        }
        self.watched.insert(dir.to_owned());
        self.scan.watches(dir);
        Ok(())
    }

    /// Watches a folder if this user may read it. Returns `false` if the user may not read it.
    pub(super) fn watch_if_open(&mut self, dir: &Path) -> Result<bool, WatchError> {
        match self.watch(dir) {
            Err(WatchError::Refused { .. }) if fs::read_dir(dir).is_err() => Ok(false),
            watched => watched.map(|()| true),
        }
    }

    /// Drops the watches of `dir` and of all folders below.
    pub(super) fn forget(&mut self, dir: &Path) {
        let below: Vec<_> = self.watched.iter().filter(|it| it.starts_with(dir)).cloned().collect();
        for path in below {
            // An error means that the watch was removed together with its folder.
            let _ = self.notify.unwatch(&path);
            self.watched.remove(&path);
        }
    }

    /// Drops the watches that no plugin needs any more.
    pub(super) fn tidy(&mut self) {
        let inputs = || self.owners.iter().map(|it| it.1);
        let parents: BTreeSet<_> = inputs().flat_map(|it| &it.files).filter_map(|it| it.parent()).collect();
        let missing = inputs().flat_map(|it| &it.dirs).map(PathBuf::as_path).chain(parents.iter().copied());
        let nearest: BTreeSet<_> =
            missing.filter(|dir| !dir.is_dir()).filter_map(nearest_folder).map(Path::to_owned).collect();
        let wanted = |dir: &PathBuf| {
            self.anchors.contains(dir)
                || parents.contains(dir.as_path())
                || nearest.contains(dir)
                || self.owners.has_dir_above(dir)
        };
        let unwanted: Vec<_> = self.watched.iter().filter(|dir| !wanted(dir)).cloned().collect();
        for dir in unwanted {
            let _ = self.notify.unwatch(&dir);
            self.watched.remove(&dir);
        }
        let mut known = std::mem::take(&mut self.known);
        let is_kept = |path: &Path| {
            !self.owners.of(path).is_empty() || path.parent().is_some_and(|it| self.anchors.contains(it))
        };
        known.retain(|path, _| is_kept(path));
        self.known = known;
    }
}
