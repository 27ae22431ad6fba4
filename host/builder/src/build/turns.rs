//! Which cargo may run when: one at a time in each workspace, those of different workspaces side by side.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The least number of workspaces that are built side by side, however few processors there are.
const LEAST_SIDE_BY_SIDE: usize = 4;

/// Who may run cargo.
#[derive(Debug)]
pub(super) struct Turns {
    /// For each workspace, what the one cargo that writes to it holds. Two would write its Cargo.lock at once, and one
    /// of them read half of it; in one target folder they would wait for each other anyway.
    workspaces: Mutex<HashMap<PathBuf, Arc<AsyncMutex<()>>>>,
    /// Each cargo takes as many processors as there are: hundreds at once would only take memory.
    builds: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let side_by_side = available_parallelism().map_or(1, usize::from).max(LEAST_SIDE_BY_SIDE);
        Self { workspaces: Mutex::default(), builds: Arc::new(Semaphore::new(side_by_side)) }
    }
}

/// The right to run cargo, until it is dropped.
#[must_use]
pub(super) struct Turn {
    _workspace: OwnedMutexGuard<()>,
    _build: Option<OwnedSemaphorePermit>,
}

impl Turns {
    /// Waits until cargo may build in this workspace.
    pub(super) async fn to_build(&self, workspace_root: &Path) -> Turn {
        let workspace = self.of(workspace_root).lock_owned().await;
        // The semaphore is never closed.
        Turn { _workspace: workspace, _build: self.builds.clone().acquire_owned().await.ok() }
    }

    /// Waits until cargo may write the lock file of this workspace.
    pub(super) async fn to_lock(&self, workspace_root: &Path) -> Turn {
        Turn { _workspace: self.of(workspace_root).lock_owned().await, _build: None }
    }

    fn of(&self, workspace_root: &Path) -> Arc<AsyncMutex<()>> {
        self.workspaces.lock().entry(workspace_root.to_owned()).or_default().clone()
    }
}
