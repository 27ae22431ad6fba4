//! Decides when cargo may run: one cargo at a time in each workspace, and several workspaces in parallel.

use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};

/// The limit for workspaces that are built in parallel. On a machine with more processors than this, the limit is the
/// number of its processors.
const LEAST_SIDE_BY_SIDE: usize = 4;

/// The locks that decide which cargo may run.
#[derive(Debug)]
pub(super) struct Turns {
    /// The lock of each workspace. Without it, two cargo processes could write the workspace's Cargo.lock at the same
    /// time, and one of them could read an incomplete file. Two cargo processes in one target folder cannot run in
    /// parallel anyway, because cargo locks the folder.
    workspaces: Mutex<HashMap<PathBuf, Arc<AsyncMutex<()>>>>,
    /// The limit for all workspaces together. Each cargo process uses all processors, so more processes would not build
    /// faster, but would use more memory.
    builds: Arc<Semaphore>,
}

impl Default for Turns {
    fn default() -> Self {
        let side_by_side = available_parallelism().map_or(1, usize::from).max(LEAST_SIDE_BY_SIDE);
        Self { workspaces: Mutex::default(), builds: Arc::new(Semaphore::new(side_by_side)) }
    }
}

/// The permission to run cargo. Dropping this value gives the permission back.
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
