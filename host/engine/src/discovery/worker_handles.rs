//! The workers of all plugins, by id. The time to find a worker does not depend on the number of plugins.

use crate::{id::PluginId, worker::WorkerHandle};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

/// The workers of the plugins.
#[derive(Default)]
pub(crate) struct WorkerHandles {
    by_id: BTreeMap<PluginId, Known>,
    /// The number of the plugin that was added last.
    last: u64,
    /// Whether each plugin that starts with the host has started or has failed to start.
    pub(crate) up: bool,
    /// Whether the host has begun to shut down, and adds no more plugins.
    pub(crate) shut_down: bool,
}

/// A worker. A removed plugin keeps its worker: if the plugin is found again, its handles work again, and the numbers
/// of its generations continue.
struct Known {
    worker: WorkerHandle,
    /// The number of the plugin, in the order in which plugins were added. `None` if the plugin was removed.
    added: Option<u64>,
}

impl Known {
    fn present(&self) -> Option<&WorkerHandle> {
        self.added.map(|_| &self.worker)
    }
}

impl WorkerHandles {
    /// The workers of the existing plugins, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = &WorkerHandle> {
        self.by_id.values().filter_map(Known::present)
    }

    /// All workers. The plugin that was added last comes first, and removed plugins come at the end.
    pub(crate) fn last_first(&self) -> Vec<WorkerHandle> {
        let mut all: Vec<_> = self.by_id.values().collect();
        all.sort_by_key(|known| Reverse(known.added));
        all.into_iter().map(|known| known.worker.clone()).collect()
    }

    /// The worker of an existing plugin.
    pub(crate) fn get(&self, id: &str) -> Option<&WorkerHandle> {
        self.by_id.get(id)?.present()
    }

    /// The worker of a plugin that exists or was removed.
    pub(super) fn known(&self, id: &PluginId) -> Option<&WorkerHandle> {
        self.by_id.get(id).map(|known| &known.worker)
    }

    /// Adds a plugin that is new, or that was removed and was found again.
    pub(super) fn add(&mut self, worker: WorkerHandle) {
        self.last += 1;
        let added = Some(self.last);
        match self.by_id.entry(worker.entry.id.clone()) {
            Entry::Occupied(mut known) => known.get_mut().added = added,
            Entry::Vacant(place) => drop(place.insert(Known { worker, added })),
        }
    }

    /// Records that a plugin was removed.
    pub(super) fn remove(&mut self, id: &PluginId) {
        if let Some(known) = self.by_id.get_mut(id) {
            known.added = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        manifest,
        registry::{Entry as Registered, fence},
    };
    use std::{fs, sync::Arc};
    use tokio::sync::mpsc;

    fn worker(id: &str) -> WorkerHandle {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plugin.toml"), format!("id = '{id}'\n")).unwrap();
        let manifest = manifest::read(folder.path()).unwrap();
        WorkerHandle {
            entry: Arc::new(Registered::new(manifest.id.clone(), "")),
            manifest: Arc::new(Arc::new(manifest).into()),
            progress: Arc::default(),
            commands: mpsc::unbounded_channel().0,
        }
    }

    fn ids<'a>(workers: impl IntoIterator<Item = &'a WorkerHandle>) -> Vec<&'a str> {
        workers.into_iter().map(|worker| worker.entry.id.as_str()).collect()
    }

    #[test]
    fn a_removed_plugin_is_not_found_until_it_is_added_again() {
        fence::register().unwrap();
        let mut workers = WorkerHandles::default();
        for id in ["dev.test.b", "dev.test.c", "dev.test.a"] {
            workers.add(worker(id));
        }
        assert_eq!(ids(workers.all()), ["dev.test.a", "dev.test.b", "dev.test.c"]);
        assert_eq!(ids(&workers.last_first()), ["dev.test.a", "dev.test.c", "dev.test.b"]);

        let id = "dev.test.b".parse().unwrap();
        let first = workers.get("dev.test.b").unwrap().entry.clone();
        workers.remove(&id);
        assert!(workers.get("dev.test.b").is_none() && workers.get("dev.test.d").is_none());
        assert_eq!(ids(workers.all()), ["dev.test.a", "dev.test.c"]);
        assert_eq!(ids(&workers.last_first()), ["dev.test.a", "dev.test.c", "dev.test.b"]);

        let kept = workers.known(&id).unwrap().clone();
        workers.add(kept);
        assert!(Arc::ptr_eq(&workers.get("dev.test.b").unwrap().entry, &first));
        assert_eq!(ids(&workers.last_first()), ["dev.test.b", "dev.test.a", "dev.test.c"]);
    }
}
