//! Manifests that have just become empty. Some programs truncate a file before they write it, so an empty manifest
//! counts as an edit only if it stays empty.

use crate::{
    watch::{Change, What},
    worker::GRACE,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use tokio::time::Instant;

/// The changes that have emptied a manifest and are held back, each with its time.
#[derive(Default)]
pub(super) struct Emptied(BTreeMap<PathBuf, (Change, Instant)>);

impl Emptied {
    /// Holds back a change that has emptied a manifest. Returns any other change, and drops a held change of the same
    /// file.
    pub(super) fn sift(&mut self, change: Change, now: Instant) -> Option<Change> {
        self.0.remove(&change.path);
        let is_empty = || fs::metadata(&change.path).is_ok_and(|metadata| metadata.len() == 0);
        if change.what == What::Manifest && is_empty() {
            self.0.insert(change.path.clone(), (change, now));
            return None;
        }
        Some(change)
    }

    /// Whether a change of this manifest is held back.
    pub(super) fn has(&self, manifest: &Path) -> bool {
        self.0.contains_key(manifest)
    }

    /// When the first held change is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|(_, since)| *since + GRACE).min()
    }

    /// Removes and returns the changes that are due now.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<Change> {
        let all = std::mem::take(&mut self.0).into_iter();
        let (due, kept) = all.partition(|(_, (_, since))| *since + GRACE <= now);
        self.0 = kept;
        BTreeMap::into_values(due).map(|(change, _)| change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn an_emptied_manifest_is_a_change_only_if_it_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.toml");
        let change = |what| {
            let plugin = "dev.test.emptied".parse().unwrap();
            Change { plugin, path: path.clone(), saved_at: SystemTime::now(), what, before: None }
        };
        let (mut emptied, now) = (Emptied::default(), Instant::now());

        fs::write(&path, "").unwrap();
        assert_eq!(emptied.sift(change(What::Manifest), now), None);
        assert!(emptied.has(&path) && emptied.due() == Some(now + GRACE));
        fs::write(&path, "id = 'dev.test.emptied'").unwrap();
        assert!(emptied.sift(change(What::Manifest), now).is_some(), "the manifest has content again");
        assert_eq!((emptied.due(), emptied.take_due(now + GRACE)), (None, Vec::new()), "no change is held");

        fs::write(&path, "").unwrap();
        assert_eq!(emptied.sift(change(What::Manifest), now), None);
        assert_eq!(emptied.take_due(now), []);
        let due = emptied.take_due(now + GRACE);
        assert_eq!(due.iter().map(|it| &it.path).collect::<Vec<_>>(), [&path]);
        assert!(!emptied.has(&path));
        assert!(emptied.sift(change(What::Source), now).is_some(), "source may be empty");
    }
}
