//! The folders and links that determine which plugins exist: the plugins folder, its parent, its subfolders, and the
//! symbolic links in their paths.

use super::{Unknown, WatchLoop};
use crate::watch::{
    WatchError,
    content::is_ignored,
    paths::{canonical, links_on},
};
use replug_config::manifest;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Anchors {
    /// The path of the plugins folder as the caller gave it, made absolute.
    named: PathBuf,
    /// The plugins folder with all links resolved.
    pub(super) plugins_dir: PathBuf,
    /// The plugins folder, its parent, its subfolders, and the folders that contain links.
    folders: BTreeSet<PathBuf>,
    /// The folders in `folders` that this user may not read.
    closed: BTreeSet<PathBuf>,
    /// The symbolic links in the paths of the plugins folder and of its subfolders.
    links: BTreeSet<PathBuf>,
}

impl Anchors {
    /// Finds the folders and links for the plugins folder at `named`.
    pub(super) fn of(named: PathBuf) -> Self {
        let plugins_dir = canonical(&named);
        let mut links = links_on(&named);
        let mut folders: BTreeSet<_> = plugins_dir.parent().map(Path::to_owned).into_iter().collect();
        if plugins_dir.is_dir() {
            folders.insert(plugins_dir.clone());
        }
        for entry in fs::read_dir(&plugins_dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if !is_ignored(&entry.file_name().to_string_lossy()) && path.is_dir() {
                links.extend(links_on(&path));
                folders.insert(canonical(&path));
            }
        }
        folders.extend(links.iter().filter_map(|link| link.parent()).map(Path::to_owned));
        Self { named, plugins_dir, folders, closed: BTreeSet::new(), links }
    }

    pub(super) fn contains(&self, dir: &Path) -> bool {
        self.folders.contains(dir)
    }

    /// Whether `path` is a symbolic link in the path of a plugin.
    pub(super) fn leads_through(&self, path: &Path) -> bool {
        self.links.contains(path)
    }

    pub(super) fn is_place_of_a_plugin(&self, path: &Path) -> bool {
        path.parent() == Some(self.plugins_dir.as_path())
    }

    /// Whether a manifest in this folder belongs to a plugin. A manifest in the parent of the plugins folder does not.
    fn may_hold_a_plugin(&self, dir: &Path) -> bool {
        self.contains(dir) && Some(dir) != self.plugins_dir.parent()
    }
}

impl WatchLoop {
    /// Watches the plugins folder, its parent and its subfolders.
    pub(super) fn anchor(&mut self, unknown: Unknown, noticed: SystemTime) -> Result<(), WatchError> {
        let mut watched = Ok(());
        // A folder is watched before it is listed. So a change in between may be found twice, but is never missed.
        let mut seen = BTreeSet::new();
        loop {
            self.anchors = Anchors::of(self.anchors.named.clone());
            let new: Vec<_> = self.anchors.folders.difference(&seen).cloned().collect();
            if new.is_empty() {
                break;
            }
            for dir in new {
                watched = watched.and(self.watch_if_open(&dir).map(drop));
                seen.insert(dir);
            }
        }
        // A folder that cannot be read is no error here, because the host's discovery reports it. When its permissions
        // change, the watch of its parent folder reports that. Then `closed` changes, so the plugins are listed again.
        let closed = |dir: &&PathBuf| !self.watched.contains(*dir) && fs::read_dir(dir).is_err();
        self.anchors.closed = self.anchors.folders.iter().filter(closed).cloned().collect();
        for dir in self.anchors.folders.clone() {
            for name in manifest::FILE_NAMES {
                self.check(&dir.join(name), unknown, noticed);
            }
        }
        watched
    }

    pub(super) fn is_manifest(&self, path: &Path) -> bool {
        let named = path.file_name().is_some_and(|name| manifest::FILE_NAMES.iter().any(|it| name == *it));
        let Some(parent) = path.parent().filter(|_| named) else { return false };
        self.anchors.may_hold_a_plugin(parent) || self.owners.has_file(path)
    }
}
