//! Does the work that a saved file requires. [`Lifecycle`](crate::lifecycle::Lifecycle) decides in `on_save.rs` which work
//! that is: a build, a manifest to read, or none.

use super::{Worker, cause::Cause};
use crate::{
    build::Moment,
    lifecycle::{Input, Next, Reading, Work},
    watch::{Change, Inputs},
};
use std::time::SystemTime;

impl Worker {
    /// Does the work that the lifecycle requests after a saved change.
    pub(super) async fn changed(&mut self, change: Change) {
        let seen = self.observe(change, Moment::After);
        let change = match self.step(Input::Changed(seen)) {
            Some(Work::BuildChange(change)) => change,
            Some(Work::ReadManifest { change, builds }) => match self.take_manifest(Reading::Edit).await {
                Next::Build if builds => change,
                _ => return,
            },
            _ => return,
        };
        // The events report the result.
        let _ = self.rebuild(Cause::of(change)).await;
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
