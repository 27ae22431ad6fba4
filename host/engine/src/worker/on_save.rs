//! What a saved file triggers: the watcher reports the change of an input, and the worker rebuilds the plugin.

use super::{Worker, cause::Cause, overlap::Settled};
use crate::{
    build::Moment,
    lifecycle::{Input, Next, Reading},
    watch::{Change, Inputs, What},
};
use std::time::SystemTime;

impl Worker {
    /// Builds after a saved change, unless a build has already read the file, or the changed manifest requires no
    /// build.
    pub(super) async fn changed(&mut self, change: Change) {
        if change.before.is_some() {
            self.do_now(Input::Edited);
        }
        let own = self.context.builder.own_writes(&self.latest_manifest(), (Moment::After, &change.path));
        let change = match (self.sources.overlap.judge_late(&change, own), change.what) {
            (Settled::Repeat(change), _) => change,
            (settled, What::Source) => return self.warn_of(&settled),
            (settled, What::Manifest) => {
                self.warn_of(&settled);
                if self.sources.overlap.is_unstable(&change.path) {
                    self.take_manifest(Reading::Edit).await;
                    return;
                }
                change
            }
        };
        let cause = Cause::of(change);
        if cause.is_manifest() && self.take_manifest(Reading::Edit).await != Next::Build {
            return;
        }
        // The events report the result.
        let _ = self.rebuild(cause).await;
    }

    /// Watches the files that a build would read, as far as the host can determine them without a build.
    pub(super) async fn watch_sources(&mut self) {
        self.watch_sources_as_of(None).await;
    }

    /// Like [`Worker::watch_sources`]. A file that was not watched before and is newer than `as_of` counts as changed.
    pub(super) async fn watch_sources_as_of(&mut self, as_of: Option<SystemTime>) {
        if self.watcher.is_some() {
            let inputs = self.context.builder.inputs(&self.latest_manifest()).await;
            self.sources.note_present(&inputs);
            self.watch(Inputs { as_of, ..inputs });
        }
    }
}
