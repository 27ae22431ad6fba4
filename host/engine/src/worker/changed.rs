//! A save becomes a build here: the watcher reports a change of what is watched, and the plugin is rebuilt.

use super::{Worker, cause::Cause, overlap::Settled};
use crate::{
    build::Moment,
    lifecycle::{Input, Next, Reading},
    watch::{Change, Inputs, Stamps, What},
};
use std::time::SystemTime;

impl Worker {
    /// Builds what was saved, unless a build has read it already, or the manifest asks for something else.
    pub(super) async fn changed(&mut self, change: Change) {
        if change.before.is_some() {
            self.do_now(Input::Edited);
        }
        let own = self.context.builder.own_writes(&self.said(), (Moment::After, &change.path));
        let change = match (self.overlap.judge_late(&change, own), change.what) {
            (Settled::Repeat(change), _) => change,
            (settled, What::Source) => return self.warn_of(&settled),
            (settled, What::Manifest) => {
                self.warn_of(&settled);
                if self.overlap.is_unstable(&change.path) {
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
        // Whoever waits for the result reads the events.
        let _ = self.rebuild(cause).await;
    }

    /// Watches what a build would read, as far as that is known without one.
    pub(super) async fn watch_sources(&mut self) {
        self.watch_sources_as_of(None).await;
    }

    /// The same; what was not watched before, and is newer than that, counts as changed.
    pub(super) async fn watch_sources_as_of(&mut self, as_of: Option<SystemTime>) {
        if self.watcher.is_some() {
            let inputs = self.context.builder.inputs(&self.said()).await;
            self.present = Stamps::of(&inputs);
            self.watch(Inputs { as_of, ..inputs });
        }
    }
}
