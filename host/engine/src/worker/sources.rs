//! The inputs of a plugin's build, and what is known about their changes.

use crate::watch::{Change, Inputs, StaleLocks, Stamps};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// The inputs of a plugin's build.
#[derive(Default)]
pub(super) struct Sources {
    /// The watched inputs.
    pub(super) inputs: Inputs,
    /// The stamps that the inputs had when the list of inputs was last determined.
    present: Stamps,
    /// The change because of which the running build begins again.
    pub(super) newer: Option<Change>,
    pub(super) stale_locks: StaleLocks,
}

impl Sources {
    /// Records the stamps of these inputs, whose list was just determined.
    pub(super) fn note_present(&mut self, inputs: &Inputs) {
        self.present = Stamps::of(inputs);
    }

    /// The present stamps of the watched inputs.
    pub(super) fn stamps(&self) -> Stamps {
        Stamps::of(&self.inputs)
    }

    /// Returns two values: whether an input has become missing or empty since the list of inputs was last determined,
    /// and which inputs have changed since `before`.
    pub(super) fn changes_since(&self, before: &Stamps) -> (bool, BTreeSet<PathBuf>) {
        let now = self.stamps();
        (now.lacks_any_of(&self.present), before.differing(&now))
    }

    /// The folders in which git may be writing files: those of the inputs, and the plugin's own folder.
    pub(super) fn folders(&self, root: &Path) -> BTreeSet<PathBuf> {
        let mut folders = self.inputs.dirs.clone();
        folders.insert(root.to_owned());
        folders
    }
}
