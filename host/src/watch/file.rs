//! One file that is waited for: it tells when the file holds something else, once whoever writes it is done.

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

/// Watches one file, which need not be there, or the file that a link leads to. Dropping it ends the watching.
#[derive(Debug)]
pub(crate) struct FileWatch {
    path: PathBuf,
    known: Content,
    stirred: Arc<Notify>,
    notify: RecommendedWatcher,
    /// Folders, because editors replace files; and whatever happens in them, because one link may lead to another.
    folders: BTreeSet<PathBuf>,
    /// How often the file is looked at without an event.
    interval: Option<Duration>,
}

impl FileWatch {
    /// Watches from now on; what the file holds now counts as known.
    pub(crate) fn new(path: &Path, poll: Poll) -> Result<Self, WatchError> {
        let stirred = Arc::new(Notify::new());
        let teller = stirred.clone();
        let tell = move |event: notify::Result<Event>| {
            if event.is_err() || event.is_ok_and(|event| is_done(&event)) {
                teller.notify_one();
            }
        };
        let notify = notify::recommended_watcher(tell).map_err(|source| WatchError::new(path, source))?;
        let (path, folders) = (path.to_owned(), BTreeSet::new());
        let interval = poll.interval(file_system_without_events(&path).is_some());
        let mut watch = Self { known: Content::Gone, path, stirred, notify, folders, interval };
        watch.watch_folders()?;
        watch.known = Content::of(&watch.path);
        Ok(watch)
    }

    /// Watches the file's folder, and that of the file which it leads to.
    fn watch_folders(&mut self) -> Result<(), WatchError> {
        let target = self.path.canonicalize();
        for folder in
            [Some(&self.path), target.as_ref().ok()].into_iter().flatten().filter_map(|it| it.parent())
        {
            if !self.folders.contains(folder) {
                let watched = self.notify.watch(folder, RecursiveMode::NonRecursive);
                watched.map_err(|source| WatchError::new(folder, source))?;
                self.folders.insert(folder.to_owned());
            }
        }
        Ok(())
    }

    /// Waits until the file holds something else than the last time.
    pub(crate) async fn changed(&mut self) {
        loop {
            match self.interval {
                // Whether an event came or the time is up, the file is looked at.
                Some(interval) => drop(timeout(interval, self.stirred.notified()).await),
                None => self.stirred.notified().await,
            }
            if self.is_missing_or_empty() {
                sleep(GRACE).await;
            }
            let content = Content::of(&self.path);
            if content != self.known {
                self.known = content;
                if let Err(error) = self.watch_folders() {
                    tracing::warn!("{}: further edits may not be noticed: {error}", self.path.display());
                }
                return;
            }
        }
    }

    fn is_missing_or_empty(&self) -> bool {
        self.path.metadata().is_ok_and(|metadata| metadata.len() == 0) || !self.path.exists()
    }
}

/// Whether whoever did this may be done: a file that is being written is not.
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
    use std::fs;

    #[tokio::test]
    async fn a_file_that_comes_is_written_is_replaced_and_goes_is_told_of_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it.toml");
        let mut watch = FileWatch::new(&path, Poll::Never).unwrap();
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
    async fn a_file_of_which_no_event_tells_is_found_to_have_changed_by_polling() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("it.toml"), folder.path().join("elsewhere/it.toml"));
        fs::create_dir(folder.path().join("elsewhere")).unwrap();
        fs::write(&other, "one").unwrap();
        fs::hard_link(&other, &path).unwrap();
        let mut watch = FileWatch::new(&path, Poll::Every(Duration::from_millis(50))).unwrap();
        fs::write(&other, "two").unwrap();
        watch.changed().await;
    }

    #[tokio::test]
    async fn a_link_that_leads_elsewhere_now_is_a_change_and_so_is_an_edit_of_what_it_leads_to() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("it.toml"), text).unwrap();
        }
        symlink("v1", at("now")).unwrap();
        symlink("now/it.toml", at("it.toml")).unwrap();
        let mut watch = FileWatch::new(&at("it.toml"), Poll::Never).unwrap();
        symlink("v2", at("next")).unwrap();
        fs::rename(at("next"), at("now")).unwrap();
        watch.changed().await;
        fs::write(at("v2/it.toml"), "three").unwrap();
        watch.changed().await;
    }
}
