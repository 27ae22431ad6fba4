//! The manifest says something else than before, or lies elsewhere.

use super::{Worker, cause::Cause, shell::policy};
use crate::{
    event::{EventKind, Stage, Stages},
    lifecycle::{Edit, Input, Next, Work},
    manifest::{self, Manifest, ManifestError},
    reload::Source,
    watch::{Change, What},
};
use std::{sync::Arc, time::SystemTime};

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
        self.do_now(Input::Moved);
        let at_new_place = |old: &Manifest| {
            let (root, file) = (manifest.root.clone(), manifest.file.clone());
            Arc::new(Manifest { root, file, ..old.clone() })
        };
        self.pending = self.pending.as_deref().map(at_new_place);
        let moved = at_new_place(&self.manifest());
        *self.shared.manifest.lock() = moved;
        self.note_manifest();
        self.tell(EventKind::PluginDiscovered { path: manifest.root.clone() });
        self.watch_sources().await;
        self.take_manifest().await;
        // Whatever else has changed on the way, no one has seen.
        if self.lifecycle.is_wanted() && !self.lifecycle.faults().of_manifest() {
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
        let read = self.context.settings.now().defaults.read(&manifest.root);
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
        if self.lifecycle.faults().of_manifest() {
            self.take_manifest().await;
        }
    }

    /// Reports why the manifest cannot be used. The one before stays in force.
    fn refuse_manifest(&mut self, error: ManifestError) {
        let error = self.error(Stage::Detect, error.into());
        self.do_now(Input::ManifestUnusable(error.to_string()));
        self.report_failed(&error, None);
    }

    /// Reads the manifest again, and says what is left to do.
    pub(super) async fn take_manifest(&mut self) -> Next {
        let old = self.manifest();
        let read = self.context.settings.now().defaults.read(&old.root);
        let new = match read {
            Ok(new) if new.id == old.id => Arc::new(self.with_given(new)),
            // The host sees to a plugin that goes by another name now.
            Ok(_) => return Next::Nothing,
            // The host sees to a plugin that is gone.
            Err(_) if self.is_missing() => return Next::Nothing,
            Err(error) => {
                self.refuse_manifest(error);
                return Next::Nothing;
            }
        };
        self.shared.progress.lock().has_read(&new);
        let live = self.shared.entry.live();
        let fixed = live.as_ref().is_some_and(|live| live.traits().settings_are_fixed);
        let edit = Edit {
            serves: live.is_some(),
            reconfigures: old.config != new.config,
            needs_another: old.requires_new_instance(&new) || fixed && old.asks_for_another_process(&new),
            more: !old.differs_only_in_config(&new),
        };
        let Some(Work::Adopt { at_once, next }) = self.step(Input::ManifestRead(edit)) else {
            return Next::Nothing;
        };
        if at_once {
            self.accept(new.clone());
        } else {
            self.pending = Some(new.clone());
        }
        match (next, live) {
            (Next::Configure, Some(live)) => {
                // Whoever waits for the result reads the events.
                let (_, next) = self.configure(live, &new).await;
                next
            }
            (next, _) => next,
        }
    }

    /// From now on the plugin follows this manifest.
    pub(super) fn accept(&mut self, manifest: Arc<Manifest>) {
        self.pending = None;
        let policy = policy(&manifest);
        *self.shared.manifest.lock() = manifest;
        self.note_manifest();
        self.do_now(Input::Accepted(policy));
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
            || self.lifecycle.faults().is_unfit() && edit == Next::Build
        {
            if self.lifecycle.is_wanted() {
                let (plugin, path) = (now.id.clone(), now.file.clone());
                let edited =
                    Change { plugin, path, saved_at: SystemTime::now(), what: What::Manifest, before: None };
                let _ = self.rebuild(Cause::of(edited)).await;
            }
        } else if let (Next::Build, Some(_), Some(live)) = (edit, &self.pending, self.shared.entry.live()) {
            let again = (Source::Stored(live.digest), now);
            if let Err(error) = self.install(again, Cause::resume(), Stages::default()).await {
                self.do_now(Input::WordsRefused(error.to_string()));
            }
        }
    }
}
