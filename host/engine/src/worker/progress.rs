//! The progress of a plugin, which its worker publishes: the current stage, the faults and the history.

use crate::{
    event::Stage,
    id::Generation,
    lifecycle::Faults,
    manifest::{Manifest, Text},
    record::{Record, Served, Wanted},
};
use std::time::SystemTime;

/// The state of a plugin that its worker publishes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// The current stage. `None` if no work is in progress.
    pub(crate) doing: Option<Stage>,
    pub(crate) faults: Faults,
    /// The text of the manifest as it was last read, if it could be read.
    manifest_text: Text,
    /// The versions that have served, in the order in which they first served.
    pub(crate) served: Vec<Served>,
    /// The last generation of the newest version, if the plugin was rolled back from it.
    pub(crate) rolled_back_from: Option<Generation>,
    /// Whether the plugin has run in this host, or a user has stopped it in an earlier host.
    pub(crate) has_run: bool,
    /// The time at which a version last began to serve.
    pub(crate) since: Option<SystemTime>,
    /// The number of restarts of the plugin's process after a crash.
    pub(crate) restarts: u64,
    /// Why the serving generation does not run in the mode that its manifest requests.
    pub(crate) moved: Option<String>,
    /// Whether the plugin is being started with its host, or will be.
    pub(crate) starts_with_host: bool,
    /// Whether the plugin was unregistered. Such a plugin counts as never started.
    pub(crate) unregistered: bool,
}

impl Progress {
    /// The initial progress of a plugin with this record.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            served: record.versions().to_vec(),
            rolled_back_from: record.rolled_back_from(),
            has_run: record.wanted() == Wanted::Stopped,
            unregistered: record.wanted() == Wanted::Unregistered,
            ..Self::default()
        }
    }

    /// Stores the text of a manifest that was just read.
    pub(super) fn note_read(&mut self, manifest: &Manifest) {
        self.manifest_text = manifest.text.clone();
    }

    /// Whether this manifest has the same text as the manifest that was read last.
    pub(crate) fn is_latest(&self, found: &Manifest) -> bool {
        found.has_same_text(&self.manifest_text)
    }

    /// Records that a version serves now. `record` is the plugin's current record.
    pub(super) fn serves(&mut self, record: &Record) {
        (self.served, self.has_run) = (record.versions().to_vec(), true);
        (self.rolled_back_from, self.since) = (record.rolled_back_from(), Some(SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;
    use std::fs;

    #[test]
    fn a_changed_manifest_is_unknown_until_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let written = |text: &str| {
            fs::write(folder.path().join("plugin.toml"), text).unwrap();
            manifest::read(folder.path()).unwrap()
        };
        let half = written("id = 'dev.test.one'\n");
        let whole = written("id = 'dev.test.one'\nbinary = 'plugin.so'\n");
        let mut progress = Progress::default();
        progress.note_read(&half);
        assert!(progress.is_latest(&half) && !progress.is_latest(&whole));
        progress.note_read(&whole);
        assert!(progress.is_latest(&whole) && !progress.is_latest(&half));
    }
}
