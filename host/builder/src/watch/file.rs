//! Waits until the content of one of several files has changed and the writer of the file has finished.

use super::{GRACE, Poll, WatchError, content::Content, file_system_without_events};
use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _,
    event::{AccessKind, AccessMode, ModifyKind},
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// Watches files, which need not exist. If a path is a link, also watches the file that the link leads to. The files
/// are watched until this value is dropped.
#[derive(Debug)]
pub struct FileWatch {
    /// The paths of the files, with their last known contents.
    files: Vec<(PathBuf, Content)>,
    /// Notified when one of the files may have changed.
    touched: Arc<Notify>,
    notify: RecommendedWatcher,
    /// The watched folders. Folders are watched because editors replace files. Events of all names in the folders
    /// count, because a changed link in the path of a file may change the file's content.
    folders: BTreeSet<PathBuf>,
    /// The interval at which the files are polled, or `None` if they are not polled.
    interval: Option<Duration>,
}

impl FileWatch {
    /// Begins to watch the files at `paths`. Their current contents count as known.
    ///
    /// # Errors
    ///
    /// [`WatchError`] if the folder of one of the files cannot be watched.
    pub fn new(paths: &[PathBuf], poll: Poll) -> Result<Self, WatchError> {
        let touched = Arc::new(Notify::new());
        let waiter = touched.clone();
        let on_event = move |event: notify::Result<Event>| {
            if event.is_err() || event.is_ok_and(|event| is_done(&event)) {
                waiter.notify_one();
            }
        };
        let first = paths.first().map_or(Path::new(""), PathBuf::as_path);
        let notify =
            notify::recommended_watcher(on_event).map_err(|source| WatchError::new(first, source))?;
        let interval = poll.interval(paths.iter().any(|path| file_system_without_events(path).is_some()));
        let files = paths.iter().map(|path| (path.clone(), Content::Gone)).collect();
        let mut watch = Self { files, touched, notify, folders: BTreeSet::new(), interval };
        watch.watch_folders()?;
        for (path, known) in &mut watch.files {
            *known = Content::of(path);
        }
        Ok(watch)
    }

    /// Watches the folder of each file. If the file is a link, also watches the folder of the link's target.
    fn watch_folders(&mut self) -> Result<(), WatchError> {
        for (path, _) in &self.files {
            let target = path.canonicalize();
            for folder in
                [Some(path), target.as_ref().ok()].into_iter().flatten().filter_map(|it| it.parent())
            {
                if !self.folders.contains(folder) {
                    let watched = self.notify.watch(folder, RecursiveMode::NonRecursive);
                    watched.map_err(|source| WatchError::new(folder, source))?;
                    self.folders.insert(folder.to_owned());
                }
            }
        }
        Ok(())
    }

    /// Waits until the content of one of the files differs from its last known content.
    pub async fn changed(&mut self) {
        loop {
            match self.interval {
                // The files are checked after an event and after the timeout.
                Some(interval) => drop(timeout(interval, self.touched.notified()).await),
                None => self.touched.notified().await,
            }
            if self.files.iter().any(|(path, known)| is_emptied(path, known)) {
                sleep(GRACE).await;
            }
            let mut changed = None;
            for (path, known) in &mut self.files {
                let content = Content::of(path);
                if content != *known {
                    *known = content;
                    changed = Some(path.display().to_string());
                }
            }
            if let Some(path) = changed {
                if let Err(error) = self.watch_folders() {
                    tracing::warn!("{path}: further edits may not be noticed: {error}");
                }
                return;
            }
        }
    }
}

/// Whether a file is empty, or has just disappeared. Both states are temporary while a program writes or replaces the
/// file.
fn is_emptied(path: &Path, known: &Content) -> bool {
    match path.metadata() {
        Ok(metadata) => metadata.len() == 0,
        Err(_) => *known != Content::Gone,
    }
}

/// Whether the event may mean that the writer has finished. A write event does not mean that: the writer still has the
/// file open, and another event will report that it has closed the file.
fn is_done(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(kind) => matches!(kind, AccessKind::Close(AccessMode::Write)),
        EventKind::Modify(kind) => matches!(kind, ModifyKind::Name(_) | ModifyKind::Metadata(_)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, slice};

    #[tokio::test]
    async fn a_watch_reports_the_creation_write_replacement_and_removal_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.toml");
        let mut watch = FileWatch::new(slice::from_ref(&path), Poll::Never).unwrap();
        fs::write(&path, "one").unwrap();
        watch.changed().await;
        fs::write(&path, "two").unwrap();
        watch.changed().await;
        fs::write(folder.path().join("it.tmp"), "three").unwrap();
        fs::rename(folder.path().join("it.tmp"), &path).unwrap();
        watch.changed().await;
        fs::remove_file(&path).unwrap();
        watch.changed().await;
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_watch_of_several_files_reports_each_creation_and_change() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["near", "far"].map(|name| folder.path().join(name).join("it.toml"));
        for path in &paths {
            fs::create_dir(path.parent().unwrap()).unwrap();
        }
        let mut watch = FileWatch::new(&paths, Poll::Never).unwrap();
        for (file, text) in [(1, "one"), (0, "one"), (1, "two")] {
            fs::write(&paths[file], text).unwrap();
            watch.changed().await;
        }
    }

    #[tokio::test]
    async fn polling_detects_a_file_change_without_an_event() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("it.toml"), folder.path().join("elsewhere/it.toml"));
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        fs::write(&other, "one").unwrap();
        fs::hard_link(&other, &path).unwrap();
        let mut watch =
            FileWatch::new(slice::from_ref(&path), Poll::Every(Duration::from_millis(50))).unwrap();
        fs::write(&other, "two").unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_changed_link_and_an_edit_of_its_target_are_changes() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("it.toml"), text).unwrap();
        }
        symlink("v1", at("now")).unwrap();
        symlink("now/it.toml", at("it.toml")).unwrap();
        let mut watch = FileWatch::new(&[at("it.toml")], Poll::Never).unwrap();
        symlink("v2", at("next")).unwrap();
        fs::rename(at("next"), at("now")).unwrap();
        watch.changed().await;
        fs::write(at("v2/it.toml"), "three").unwrap();
        watch.changed().await;
    }
}
