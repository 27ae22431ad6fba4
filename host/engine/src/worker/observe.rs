//! Observes changed files for the lifecycle, which decides what the changes require.

use super::Worker;
use crate::{
    build::{Moment, OwnWrites},
    lifecycle::{Contents, Observation},
    watch::{Change, Content, changed_at},
};
use std::time::SystemTime;

impl Worker {
    /// Observes a changed file.
    pub(super) fn observe(&self, change: Change, moment: Moment) -> Observation {
        let path = &change.path;
        let own = self.context.builder.own_writes(&self.latest_manifest(), (moment, path));
        let times: Option<Vec<SystemTime>> = path.ancestors().map(changed_at).collect();
        Observation {
            own,
            content: (own != OwnWrites::None || moment == Moment::During).then(|| Content::of(path)),
            changed: changed_at(path),
            changed_or_moved: times.and_then(|times| times.into_iter().max()),
            at: SystemTime::now(),
            change,
        }
    }

    /// The contents of the files that have changed during the build.
    pub(super) fn contents(&self) -> Contents {
        self.lifecycle.held().map(|path| (path.clone(), Content::of(path))).collect()
    }
}
