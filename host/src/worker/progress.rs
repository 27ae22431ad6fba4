//! What the worker lets others see of its plugin: what is done with it, and what is wrong with it.

use crate::{
    event::Stage,
    id::{Digest, Generation},
    manifest::{Manifest, Text},
    record::{Record, Wanted},
};
use std::time::SystemTime;

/// What the worker lets others see of its plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) doing: Option<Stage>,
    /// What went wrong last, if that is none of the following.
    pub(crate) last_error: Option<String>,
    /// The manifest as it was last read, if it could be.
    manifest_text: Text,
    /// Why the manifest cannot be read: the one before is in force. No version that serves puts that right.
    pub(crate) manifest_error: Option<String>,
    /// Why what the manifest says was refused, if it could be read: what it said before is in force.
    pub(crate) refusal: Option<String>,
    /// Why the newest source does not serve. Another version that does puts nothing right.
    pub(crate) source_error: Option<String>,
    /// The artifacts that have served, with the generation in which each first did.
    pub(crate) served: Vec<(Generation, Digest)>,
    /// Whether the plugin has run in this host, or someone has stopped it in an earlier one.
    pub(crate) has_run: bool,
    pub(crate) since: Option<SystemTime>,
    /// How often its process was started again after a crash.
    pub(crate) restarts: u64,
    /// Why the generation that serves is not where its manifest would have it.
    pub(crate) moved: Option<String>,
    /// Whether it was taken back to the plugins that were never started.
    pub(crate) unregistered: bool,
}

impl Progress {
    /// What there is to see of a plugin of which that is remembered.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            served: served(record),
            has_run: record.wanted() == Wanted::Stopped,
            unregistered: record.wanted() == Wanted::Unregistered,
            source_error: record.gone_back_because().map(str::to_owned),
            ..Self::default()
        }
    }

    /// A version serves, of which this is remembered.
    pub(super) fn serves(&mut self, record: &Record) {
        (self.served, self.has_run) = (served(record), true);
        self.since = Some(SystemTime::now());
    }

    /// What is wrong, the newest first.
    pub(crate) fn wrong(&self) -> Option<&String> {
        let all = [&self.last_error, &self.manifest_error, &self.refusal, &self.source_error];
        all.into_iter().find_map(Option::as_ref)
    }

    /// What went wrong last is that the manifest cannot be read.
    pub(super) fn blame_manifest(&mut self) {
        self.manifest_error = self.last_error.take();
    }

    /// What went wrong last is what the manifest says.
    pub(super) fn blame_words(&mut self) {
        self.refusal = self.last_error.take();
    }

    /// The manifest could be read, and nothing is wrong with it yet.
    pub(super) fn has_read(&mut self, manifest: &Manifest) {
        self.manifest_text = manifest.text.clone();
        self.blames_no_manifest();
    }

    /// Whether the manifest, as it was found by someone else, is the one that was last read.
    pub(crate) fn knows(&self, found: &Manifest) -> bool {
        self.manifest_text.is_same(&found.text)
    }

    fn blames_no_manifest(&mut self) {
        (self.manifest_error, self.refusal) = (None, None);
    }

    /// What went wrong last is wrong with the source.
    pub(super) fn blame_source(&mut self) {
        self.source_error = self.last_error.take();
    }

    /// A version that served before serves again, which puts nothing right of what was wrong.
    pub(super) fn is_wrong_as(&mut self, before: Self) {
        self.source_error = before.source_error.or(before.last_error);
    }

    /// What was wrong is so no more.
    pub(super) fn is_right(&mut self) {
        self.blames_no_manifest();
        (self.last_error, self.source_error) = (None, None);
    }
}

fn served(record: &Record) -> Vec<(Generation, Digest)> {
    record.versions().iter().map(|version| (version.generation, version.digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest;
    use std::fs;

    #[test]
    fn another_manifest_that_is_valid_too_is_not_known_until_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let written = |text: &str| {
            fs::write(folder.path().join("plugin.toml"), text).unwrap();
            manifest::read(folder.path()).unwrap()
        };
        let half = written("id = 'dev.test.one'\n");
        let whole = written("id = 'dev.test.one'\nbinary = 'plugin.so'\n");
        let mut progress = Progress::default();
        progress.has_read(&half);
        assert!(progress.knows(&half) && !progress.knows(&whole));
        progress.has_read(&whole);
        assert!(progress.knows(&whole) && !progress.knows(&half));
    }
}
