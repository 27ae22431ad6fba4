//! Handles an edit of the manifest, and a move of the plugin's folder.

use super::{Worker, cause::Cause};
use crate::{
    event::{EventKind, Stage, Stages},
    job::Source,
    lifecycle::{Input, Next, ProcessSettings, Reading, Work},
    manifest::{self, Manifest, ManifestError},
    watch::{Change, What},
};
use std::{sync::Arc, time::SystemTime};

impl Worker {
    /// Applies a move of the plugin's folder: watches and builds the source in the new folder.
    pub(super) async fn moved(&mut self, manifest: &Manifest) {
        // If the folder was moved again, the host sends another command for that move.
        let is_there = || {
            manifest::read(&manifest.root)
                .map_or_else(|_| manifest::holds_manifest(&manifest.root), |found| found.id == manifest.id)
        };
        if self.manifest().root == manifest.root || !is_there() {
            return;
        }
        self.do_now(Input::Moved { root: manifest.root.clone(), file: manifest.file.clone() });
        self.emit(EventKind::PluginDiscovered { path: manifest.root.clone() });
        self.watch_sources().await;
        self.read_and_build(Reading::Moved).await;
    }

    /// Reads the manifest again, and does the work that follows from it.
    pub(super) async fn read_and_build(&mut self, reading: Reading) {
        // The events report the result.
        match (self.take_manifest(reading).await, self.shared.entry.live()) {
            (Next::Build, _) => {
                let (plugin, path) = (self.id().clone(), self.latest_manifest().file.clone());
                let saved_at = SystemTime::now();
                let edited = Change { plugin, path, saved_at, what: What::Manifest, before: None };
                let _ = self.rebuild(Cause::of(edited)).await;
            }
            (Next::Renew, Some(live)) => {
                let manifest = self.latest_manifest();
                let again = (Source::Stored(live.digest), manifest.clone());
                if let Err(error) = self.install(again, Cause::resume(), Stages::default()).await {
                    self.do_now(Input::ManifestRefused { manifest, text: error.to_string() });
                }
            }
            _ => {}
        }
    }

    /// Handles a manifest that was unusable when the host started: reports the error, or applies the repaired manifest.
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

    /// Reads the manifest again if it was unusable. Without a watcher, the host notices a repaired manifest only when
    /// it handles a command.
    pub(super) async fn reread_unusable_manifest(&mut self) {
        if self.lifecycle.faults().of_manifest() {
            self.take_manifest(Reading::Edit).await;
        }
    }

    /// Records and reports why the manifest cannot be used. The previous manifest stays in force.
    fn refuse_manifest(&mut self, error: ManifestError) {
        let error = self.error(Stage::Detect, error.into());
        self.do_now(Input::ManifestUnusable(error.to_string()));
        self.report_failed(&error, None);
    }

    /// Reads the manifest again, and returns the work that follows from it.
    pub(super) async fn take_manifest(&mut self, reading: Reading) -> Next {
        let old = self.manifest();
        let read = self.context.settings.now().defaults.read(&old.root);
        let manifest = match read {
            Ok(read) if read.id == old.id => Arc::new(read),
            // The manifest has a different id now. Discovery handles that.
            Ok(_) => return Next::Nothing,
            // The manifest is missing. Discovery handles that.
            Err(_) if self.is_missing() => return Next::Nothing,
            Err(error) => {
                self.refuse_manifest(error);
                return Next::Nothing;
            }
        };
        self.shared.progress.lock().note_read(&manifest);
        let live = self.shared.entry.live();
        let serves = live.as_ref().map(|live| match live.traits().settings_are_fixed {
            true => ProcessSettings::Fixed,
            false => ProcessSettings::Open,
        });
        match (self.step(Input::ManifestRead { manifest, serves, reading }), live) {
            // The events report the result of the configuration.
            (Some(Work::Configure(new)), Some(live)) => self.configure(live, &new).await.1,
            (Some(Work::GoOn(next)), _) => next,
            _ => Next::Nothing,
        }
    }
}
