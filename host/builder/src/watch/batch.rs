//! A batch of events: all events that have arrived when the watcher processes the first of them.

use notify::{
    EventKind,
    event::{AccessKind, ModifyKind, RenameMode},
};
use std::{collections::BTreeSet, path::PathBuf};

/// The paths in several events.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) touched: BTreeSet<PathBuf>,
    pub(super) gone: BTreeSet<PathBuf>,
    pub(super) lost: Option<String>,
}

impl Batch {
    pub(super) fn add(&mut self, event: notify::Result<notify::Event>) {
        match event {
            Err(error) => self.lost = Some(format!("the watcher failed: {error}")),
            Ok(event) if event.need_rescan() => {
                self.lost = Some("more files changed at once than the kernel's event queue can hold".into());
            }
            Ok(event) => match event.kind {
                EventKind::Access(AccessKind::Close(_)) => self.touched.extend(event.paths),
                // A file that is opened or read has not changed. The watcher must not react to these events, because this
                // program itself reads the watched files.
                EventKind::Access(_) => {}
                EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                    self.touched.extend(event.paths.iter().cloned());
                    self.gone.extend(event.paths);
                }
                _ => self.touched.extend(event.paths),
            },
        }
    }
}
