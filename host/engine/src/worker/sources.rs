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
    /// The inputs that existed when the inputs were determined.
    present: Stamps,
    /// The change because of which the running build begins again.
    pub(super) newer: Option<Change>,
    pub(super) stale_locks: StaleLocks,
}

impl Sources {
    /// Records which of these inputs exist. They are watched next.
    pub(super) fn note_present(&mut self, inputs: &Inputs) {
        self.present = Stamps::of(inputs);
    }

    /// The present state of the watched inputs.
    pub(super) fn stamps(&self) -> Stamps {
        Stamps::of(&self.inputs)
    }

    /// Whether an input is missing or empty now, but was not when the inputs were determined, and the inputs that have
    /// changed since `before`.
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
