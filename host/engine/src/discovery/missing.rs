//! Plugins whose manifest is missing. If the manifest does not exist again within [`GRACE`], the plugin was removed.

use crate::{id::PluginId, watch::Change, worker::GRACE};
use std::collections::BTreeMap;
use tokio::time::Instant;

/// For each plugin whose manifest is missing: since when it has been missing, and the plugin's changes since then. The
/// changes are held back, because a plugin cannot be built without a manifest.
#[derive(Default)]
pub(super) struct Missing(BTreeMap<PluginId, (Instant, Vec<Change>)>);

impl Missing {
    fn entry(&mut self, id: &PluginId, now: Instant) -> &mut (Instant, Vec<Change>) {
        self.0.entry(id.clone()).or_insert_with(|| (now, Vec::new()))
    }

    /// Holds a change back until the manifest exists again. Returns whether this is the first report that the manifest
    /// is missing.
    pub(super) fn hold(&mut self, change: Change, now: Instant) -> bool {
        let is_news = !self.0.contains_key(&change.plugin);
        self.entry(&change.plugin, now).1.push(change.clone());
        is_news
    }

    /// Records that a manifest is missing. Returns whether it has been missing for [`GRACE`], so that the plugin counts
    /// as removed.
    pub(super) fn is_gone(&mut self, id: &PluginId, now: Instant) -> bool {
        let gone = self.entry(id, now).0 + GRACE <= now;
        if gone {
            self.0.remove(id);
        }
        gone
    }

    /// Records that a manifest exists, and returns the changes that were held back.
    pub(super) fn is_back(&mut self, id: &PluginId) -> Vec<Change> {
        self.0.remove(id).map(|(_, changes)| changes).unwrap_or_default()
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// When to check the first missing manifest again.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.values().map(|(since, _)| *since + GRACE).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::What;
    use std::time::SystemTime;

    #[test]
    fn changes_while_a_manifest_is_missing_are_held_and_dropped_on_removal() {
        let plugin: PluginId = "dev.test.missing".parse().unwrap();
        let (path, saved_at) = ("src/lib.rs".into(), SystemTime::now());
        let change = Change { plugin: plugin.clone(), path, saved_at, what: What::Source, before: None };
        let (mut missing, now) = (Missing::default(), Instant::now());

        assert!(missing.hold(change.clone(), now));
        assert_eq!(missing.due(), Some(now + GRACE));
        assert!(!missing.is_gone(&plugin, now), "the manifest may exist again");
        assert_eq!(missing.is_back(&plugin), vec![change.clone()]);
        assert_eq!(
            (missing.due(), missing.is_back(&plugin)),
            (None, Vec::new()),
            "the held change is returned only once"
        );

        missing.hold(change, now);
        assert!(missing.is_gone(&plugin, now + GRACE));
        assert_eq!((missing.due(), missing.is_back(&plugin)), (None, Vec::new()));
    }
}
