//! The manifest says something else than before, or lies elsewhere.

use super::{Worker, configure::By, serve::Cause};
use crate::{
    error::ReloadError,
    event::{EventKind, Stage, Stages},
    manifest::{self, Manifest, ManifestError},
    reload::Source,
    watch::{Change, What},
};
use std::{sync::Arc, time::SystemTime};

/// What an edit of the manifest leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ManifestEdit {
    /// Nothing.
    Settled,
    /// A build, of which something new may come, or has to.
    Rebuild,
}

impl Worker {
    /// Goes on with what the plugin's folder holds at its new place.
    pub(super) async fn moved(&mut self, manifest: &Manifest) {
        // It may have been moved on meanwhile, or back: of that, the host tells as well.
        let is_there = || {
            manifest::read(&manifest.root)
                .map_or_else(|_| manifest::holds_manifest(&manifest.root), |found| found.id == manifest.id)
        };
        if self.manifest().root == manifest.root || !is_there() {
            return;
        }
        // What failed at the old place says nothing of the new one.
        self.untold = None;
        let at_new_place = |old: &Manifest| {
            let (root, file) = (manifest.root.clone(), manifest.file.clone());
            Arc::new(Manifest { root, file, ..old.clone() })
        };
        self.pending = self.pending.as_deref().map(at_new_place);
        let moved = at_new_place(&self.manifest());
        *self.desk.manifest.lock() = moved;
        self.note_manifest();
        self.tell(EventKind::PluginDiscovered { path: manifest.root.clone() });
        self.watch_sources().await;
        self.take_manifest().await;
        // Whatever else has changed on the way, no one has seen.
        if self.wanted && self.desk.progress.lock().manifest_error.is_none() {
            let (plugin, path) = (self.id().clone(), manifest.file.clone());
            let saved_at = SystemTime::now();
            let _ = self
                .rebuild(Cause::of(Change { plugin, path, saved_at, what: What::Manifest, before: None }))
                .await;
        }
    }

    /// Goes on with an edit that was made before the host started, and could not be used then.
    pub(super) async fn take_edit(&mut self) {
        let manifest = self.manifest();
        let read = self.shop.settings.now().defaults.read(&manifest.root);
        if let Err(error) = read {
            return self.refuse_manifest(error);
        }
        let (plugin, path) = (manifest.id.clone(), manifest.file.clone());
        self.changed(Change {
            plugin,
            path,
            saved_at: SystemTime::now(),
            what: What::Manifest,
            before: None,
        })
        .await;
    }

    /// Reads a manifest again that could not be used. Of an edit that puts it right, a host that watches nothing learns by
    /// order.
    pub(super) async fn look_at_unusable(&mut self) {
        if self.desk.progress.lock().manifest_error.is_some() {
            self.take_manifest().await;
        }
    }

    /// Reports why the manifest cannot be used. The one before stays in force.
    fn refuse_manifest(&mut self, error: ManifestError) {
        let plugin = self.id().clone();
        self.failed(ReloadError { plugin, stage: Stage::Detect, cause: Arc::new(error.into()) });
        self.desk.progress.lock().blame_manifest();
    }

    /// Reads the manifest again, and says what is left to do.
    pub(super) async fn take_manifest(&mut self) -> ManifestEdit {
        let old = self.manifest();
        let read = self.shop.settings.now().defaults.read(&old.root);
        let new = match read {
            Ok(new) if new.id == old.id => Arc::new(self.with_given(new)),
            // The host sees to a plugin that goes by another name now.
            Ok(_) => return ManifestEdit::Settled,
            // The host sees to a plugin that is gone.
            Err(_) if self.is_missing() => return ManifestEdit::Settled,
            Err(error) => {
                self.refuse_manifest(error);
                return ManifestEdit::Settled;
            }
        };
        self.desk.progress.lock().has_read(&new);
        let was_pending = self.pending.is_some();
        let Some(live) = self.desk.entry.live() else {
            // It did not come up before, and may now.
            self.accept(new);
            return ManifestEdit::Rebuild;
        };
        let reconfigured = old.config != new.config;
        let outside = live.instance.pid().is_some();
        if reconfigured || old.is_outlived_by(&new) || outside && old.asks_for_another_process(&new) {
            self.pending = Some(new.clone());
        } else {
            self.accept(new.clone());
        }
        if !old.differs_only_in_config(&new) {
            return ManifestEdit::Rebuild;
        }
        if reconfigured {
            // Whoever waits for the result reads the events.
            drop(self.configure((live, By::Edit), &new).await);
        } else {
            self.is_fit();
        }
        // What is newer than what serves may fit now, or be let in by what the manifest says no more.
        let is_refused = self.desk.progress.lock().source_error.is_some();
        if self.unfit || was_pending && is_refused { ManifestEdit::Rebuild } else { ManifestEdit::Settled }
    }

    /// From now on the plugin lives by this manifest.
    pub(super) fn accept(&mut self, manifest: Arc<Manifest>) {
        self.pending = None;
        let checkpoint = manifest.reload.checkpoint;
        let before = std::mem::replace(&mut *self.desk.manifest.lock(), manifest);
        self.note_manifest();
        if before.reload.checkpoint != checkpoint {
            self.keep_checkpoints(checkpoint);
        }
    }

    /// Reads the manifest again, which may say something else now. If the instance has to be another, it is made from
    /// the artifact that serves; a build is needed only if the manifest itself was edited too.
    pub(super) async fn new_defaults(&mut self) {
        let before = self.said();
        let edit = self.take_manifest().await;
        let now = self.said();
        // Whoever waits for the result reads the events.
        if before.build != now.build
            || before.binary != now.binary
            || self.unfit && edit == ManifestEdit::Rebuild
        {
            if self.wanted {
                let (plugin, path) = (now.id.clone(), now.file.clone());
                let edited =
                    Change { plugin, path, saved_at: SystemTime::now(), what: What::Manifest, before: None };
                let _ = self.rebuild(Cause::of(edited)).await;
            }
        } else if let (ManifestEdit::Rebuild, Some(_), Some(live)) =
            (edit, &self.pending, self.desk.entry.live())
        {
            let again = (Source::Stored(live.digest), now);
            if self.install(again, Cause::resume(), Stages::default()).await.is_err() {
                self.desk.progress.lock().blame_words();
            }
        }
    }
}
