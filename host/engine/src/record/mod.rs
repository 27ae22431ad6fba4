//! The record of a plugin, which outlives the host. It determines whether the plugin should run, which version the next
//! host starts, and to which versions the plugin can be rolled back. This module does no I/O: [`Records`] keeps the
//! records on disk.

mod files;

pub(crate) use files::{Kept, Records};

use crate::{
    id::{Digest, Generation, PluginId},
    manifest::Manifest,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::SystemTime,
};

/// The format of the record. A host ignores a record of a different format.
const FORMAT: u32 = 1;

/// The record of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    id: PluginId,
    wanted: Wanted,
    /// The number of the last generation.
    generation: u64,
    serving: Option<ServingRecord>,
    /// The version that was confirmed last.
    last_good: Option<Digest>,
    /// The last version that was built from the source and then served.
    newest: Option<Digest>,
    /// The versions that have served, in the order in which they first served.
    versions: Vec<Served>,
    /// The versions that do not run until the user starts the plugin, with the reason.
    quarantined: BTreeMap<Digest, String>,
    /// The note on the saved state with which the next start begins. `None` after a version has started with it.
    state: Option<StateNote>,
    /// The manifest that was accepted last.
    manifest: Option<Accepted>,
}

/// A manifest that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    /// The file of the manifest, with the links in its path resolved.
    pub(crate) file: PathBuf,
    pub(crate) text: String,
}

impl Accepted {
    /// `None` if the manifest's path is not UTF-8: a record cannot contain such a path.
    fn of(manifest: &Manifest) -> Option<Self> {
        let file = manifest.file.to_str()?.into();
        Some(Self { file, text: manifest.text().into() })
    }
}

/// Whether a plugin should run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    /// `auto_start` in the plugin's manifest decides.
    #[default]
    AsManifest,
    /// Yes: a user has started the plugin.
    Running,
    /// No: a user has stopped the plugin.
    Stopped,
    /// No: a user has unregistered the plugin.
    Unregistered,
}

/// The version that serves, or served last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ServingRecord {
    pub(crate) digest: Digest,
    pub(crate) choice: Choice,
    /// The configuration that the version has accepted.
    pub(crate) config: Map<String, Value>,
    /// The program of the host in which the version served.
    pub(crate) program: Option<String>,
}

/// Why a version serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Choice {
    /// The version is the newest that has started.
    Newest,
    /// The plugin was rolled back to the version, which serves until the source is edited or a user reloads the plugin.
    RolledBack {
        /// The problem of the newest version, if `confirm` detected one.
        because: Option<String>,
    },
}

/// The maximum number of later generations that are kept for each version.
const LATER: usize = 20;

/// A version that has served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Served {
    pub(crate) digest: Digest,
    /// The version's first generation that served.
    pub(crate) generation: Generation,
    /// The version's later generations that have served: at most the last [`LATER`], the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) later: Vec<Generation>,
    /// When the version first served.
    #[serde(with = "timestamp")]
    pub(crate) at: SystemTime,
    /// Whether `confirm` has rolled this version back, and the version has not been confirmed since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) taken_back: bool,
}

/// A note that the next start begins with a saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateNote {
    #[serde(with = "timestamp")]
    pub(crate) saved_at: SystemTime,
    /// The version that saved the state.
    pub(crate) by: Digest,
}

/// Why a version was installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The version was built from the source.
    Built,
    /// The version was started or restarted from the store.
    Again,
    /// The version was the target of a rollback.
    WentBack,
}

impl Record {
    /// A record without a history.
    pub(crate) fn new(id: PluginId) -> Self {
        Self {
            format: FORMAT,
            id,
            wanted: Wanted::AsManifest,
            generation: 0,
            serving: None,
            last_good: None,
            newest: None,
            versions: Vec::new(),
            quarantined: BTreeMap::new(),
            state: None,
            manifest: None,
        }
    }

    /// Whether the plugin should run.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Records whether a user wants the plugin to run.
    pub(crate) fn set_wanted(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// The number of the last generation.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// The versions that have served, in the order in which they first served.
    pub(crate) fn versions(&self) -> &[Served] {
        &self.versions
    }

    /// The version that serves, or served last.
    pub(crate) fn serving(&self) -> Option<&ServingRecord> {
        self.serving.as_ref()
    }

    /// The versions to start before the source is built: the version that served last, then the version that was
    /// confirmed last.
    pub(crate) fn to_start_with(&self) -> Vec<Digest> {
        let serving = self.serving.as_ref().map(|serving| serving.digest);
        let last_good = self.last_good.filter(|digest| Some(*digest) != serving);
        serving.into_iter().chain(last_good).collect()
    }

    /// The last version that was built from the source and then served.
    pub(crate) fn newest(&self) -> Option<Digest> {
        self.newest
    }

    /// Whether the newest version serves, and was not chosen by a rollback.
    pub(crate) fn serves_newest(&self) -> bool {
        self.newest == self.serving.as_ref().map(|serving| serving.digest) && !self.is_rolled_back()
    }

    /// Whether the plugin was rolled back from the newest version.
    pub(crate) fn is_rolled_back(&self) -> bool {
        let choice = self.serving.as_ref().map(|serving| &serving.choice);
        matches!(choice, Some(Choice::RolledBack { .. }))
    }

    /// The last generation of the newest version, if the plugin was rolled back from it.
    pub(crate) fn rolled_back_from(&self) -> Option<Generation> {
        let newest = self.newest.filter(|_| self.is_rolled_back())?;
        let version = self.versions.iter().find(|version| version.digest == newest)?;
        Some(version.later.last().copied().unwrap_or(version.generation))
    }

    /// Why `confirm` has rolled the plugin back. `None` if it has not.
    pub(crate) fn rollback_reason(&self) -> Option<&str> {
        match &self.serving.as_ref()?.choice {
            Choice::RolledBack { because } => because.as_deref(),
            Choice::Newest => None,
        }
    }

    /// Records that a version serves. The version has begun with the saved state, if any, so the note on that state is
    /// removed. If the version was quarantined, its quarantine ends.
    pub(crate) fn serves(&mut self, served: Served, how: How, serving: (Map<String, Value>, Option<String>)) {
        let digest = served.digest;
        let before = self.serving.take();
        let choice = match (how, before) {
            (How::Built, _) => Choice::Newest,
            (How::Again, Some(before)) if before.digest == digest => before.choice,
            (How::Again, _) => Choice::Newest,
            (How::WentBack, _) if self.newest == Some(digest) => Choice::Newest,
            (How::WentBack, _) => Choice::RolledBack { because: None },
        };
        if how == How::Built {
            self.newest = Some(digest);
        }
        let (config, program) = serving;
        self.serving = Some(ServingRecord { digest, choice, config, program });
        self.generation = self.generation.max(served.generation.0);
        match self.versions.iter_mut().find(|version| version.digest == digest) {
            Some(version) => {
                version.later.push(served.generation);
                version.later.drain(..version.later.len().saturating_sub(LATER));
            }
            None => self.versions.push(served),
        }
        self.state = None;
        self.quarantined.remove(&digest);
    }

    /// Records that a build has resulted in the serving version, so the plugin is not rolled back any more.
    pub(crate) fn is_unchanged(&mut self) {
        if let Some(serving) = &mut self.serving {
            serving.choice = Choice::Newest;
            self.newest = Some(serving.digest);
        }
    }

    /// Records that the serving version is confirmed.
    pub(crate) fn is_good(&mut self) {
        self.last_good = self.serving.as_ref().map(|serving| serving.digest);
        if let Some(good) = self.last_good {
            self.mark(good, false);
        }
    }

    /// The versions that `confirm` has rolled back and that have not been confirmed since.
    pub(crate) fn taken_back(&self) -> BTreeSet<Digest> {
        self.versions.iter().filter(|version| version.taken_back).map(|version| version.digest).collect()
    }

    /// Stores whether `confirm` has rolled a version back.
    fn mark(&mut self, digest: Digest, taken_back: bool) {
        for version in self.versions.iter_mut().filter(|version| version.digest == digest) {
            version.taken_back = taken_back;
        }
    }

    /// The version that was confirmed last.
    pub(crate) fn last_good(&self) -> Option<Digest> {
        self.last_good
    }

    /// Records that `confirm` has rolled a version back, for this reason.
    pub(crate) fn takes_back(&mut self, bad: Digest, reason: &str) {
        self.mark(bad, true);
        if let Some(ServingRecord { choice: Choice::RolledBack { because }, .. }) = &mut self.serving {
            *because = Some(reason.into());
        }
    }

    /// Records that the serving version has accepted this configuration.
    pub(crate) fn accepts(&mut self, new: &Map<String, Value>) {
        if let Some(serving) = self.serving.as_mut().filter(|serving| serving.config != *new) {
            serving.config = new.clone();
        }
    }

    /// Removes the oldest versions until at most `most` versions remain. Never removes the serving version.
    pub(crate) fn forget_all_but(&mut self, most: usize) {
        let serving = self.serving.as_ref().map(|serving| serving.digest);
        while self.versions.len() > most.max(1) {
            let oldest = self.versions.iter().position(|version| Some(version.digest) != serving);
            self.versions.remove(oldest.unwrap_or(0));
        }
    }

    /// The artifacts that the plugin may need again.
    pub(crate) fn names(&self) -> BTreeSet<Digest> {
        let serving = self.serving.as_ref().map(|serving| serving.digest);
        let versions = self.versions.iter().map(|version| version.digest);
        versions.chain(serving).chain(self.last_good).collect()
    }

    /// The versions that must not run, with the reason.
    pub(crate) fn quarantined(&self) -> &BTreeMap<Digest, String> {
        &self.quarantined
    }

    /// Records that a version must not run until a user starts the plugin.
    pub(crate) fn quarantine(&mut self, digest: Digest, reason: String) {
        self.quarantined.insert(digest, reason);
    }

    /// Ends the quarantine of all versions.
    pub(crate) fn lift_quarantine(&mut self) {
        self.quarantined.clear();
    }

    /// Records that a version serves with this manifest, which makes it the accepted manifest.
    pub(crate) fn serves_under(&mut self, manifest: &Manifest) {
        self.manifest = Accepted::of(manifest);
    }

    /// Records a valid manifest with which no version serves. If a version has served with a different manifest, that
    /// manifest stays the accepted manifest, with the plugin's current path.
    pub(crate) fn reads(&mut self, manifest: &Manifest) {
        let accepted = self.manifest.take().filter(|_| self.serving.is_some());
        self.manifest = Accepted::of(manifest).map(|read| match accepted {
            Some(accepted) => Accepted { file: read.file, ..accepted },
            None => read,
        });
    }

    /// Records that the plugin was removed. The accepted manifest is removed, because a plugin that is added later with
    /// the same id has a different manifest.
    pub(crate) fn is_gone(&mut self) {
        self.manifest = None;
    }

    /// The note on the saved state with which the next start begins.
    pub(crate) fn state(&self) -> Option<StateNote> {
        self.state
    }

    /// Records whether the next start begins with a saved state.
    pub(crate) fn set_state(&mut self, state: Option<StateNote>) {
        self.state = state;
    }
}

/// Serializes times as RFC 3339.
mod timestamp {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::time::SystemTime;

    pub(super) fn serialize<S: Serializer>(at: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_rfc3339_millis(*at))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_rfc3339(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests;
