//! Decides when cargo may run: one cargo at a time in each workspace, and several workspaces in parallel. A build that
//! waits for its turn learns what the running cargo has compiled, because it may need no cargo of its own then.

use super::{compiled::Compiled, progress};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    thread::available_parallelism,
    time::Duration,
};
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};

/// The waiting time after which a build reports that it waits for another build.
const REPORTED_WAIT: Duration = Duration::from_millis(200);

/// The limit for workspaces that are built in parallel. On a machine with more processors than this, the limit is the
/// number of its processors.
const LEAST_SIDE_BY_SIDE: usize = 4;

/// The locks that decide which cargo may run.
#[derive(Debug)]
pub(super) struct Turns {
    workspaces: Mutex<HashMap<PathBuf, Workspace>>,
    /// The limit for all workspaces together. Each cargo process uses all processors, so more processes would not build
    /// faster, but would use more memory.
    builds: Arc<Semaphore>,
}

#[derive(Clone, Debug)]
struct Workspace {
    /// Without this lock, two cargo processes could write the workspace's Cargo.lock at the same time, and one of them
    /// could read an incomplete file. A cargo holds the lock until it has exited, even if its build was cancelled. Two
    /// cargo processes in one target folder cannot run in parallel anyway, because cargo locks the folder.
    alone: Arc<AsyncMutex<()>>,
    /// What the running cargo, or the last one, has compiled.
    compiled: watch::Sender<Option<Arc<Compiled>>>,
}

impl Default for Workspace {
    fn default() -> Self {
        Self { alone: Arc::default(), compiled: watch::Sender::new(None) }
    }
}

impl Default for Turns {
    fn default() -> Self {
        let side_by_side = available_parallelism().map_or(1, usize::from).max(LEAST_SIDE_BY_SIDE);
        Self { workspaces: Mutex::default(), builds: Arc::new(Semaphore::new(side_by_side)) }
    }
}

/// The permission to run cargo. Dropping this value gives the permission back, unless a process holds the
/// [lock](Self::lock) of the workspace.
#[must_use]
pub(super) struct Turn {
    alone: Arc<OwnedMutexGuard<()>>,
    _build: Option<OwnedSemaphorePermit>,
    compiled: watch::Sender<Option<Arc<Compiled>>>,
}

impl Turn {
    /// The lock of the workspace. The cargo process holds it, because a cancelled cargo may still complete its write of
    /// Cargo.lock after the build, and with it this value, was dropped.
    pub(super) fn lock(&self) -> Arc<OwnedMutexGuard<()>> {
        Arc::clone(&self.alone)
    }

    /// Shows the builds that wait for their turn what this cargo has compiled so far.
    pub(super) fn publish(&self, compiled: &Arc<Compiled>) {
        self.compiled.send_replace(Some(Arc::clone(compiled)));
    }
}

impl Turns {
    /// Waits until cargo may build in this workspace. Returns `None` as soon as `suffices` accepts what another cargo
    /// has compiled in this workspace.
    pub(super) async fn to_build_unless(
        &self,
        workspace_root: &Path,
        suffices: impl Fn(&Compiled) -> bool,
    ) -> Option<Turn> {
        let turn = self.turn_unless(workspace_root, suffices);
        tokio::pin!(turn);
        if let Ok(turn) = timeout(REPORTED_WAIT, &mut turn).await {
            return turn;
        }
        progress::note("waiting for another build of this workspace");
        turn.await
    }

    async fn turn_unless(&self, workspace_root: &Path, suffices: impl Fn(&Compiled) -> bool) -> Option<Turn> {
        let mut compiled = self.of(workspace_root).compiled.subscribe();
        let turn = self.to_build(workspace_root);
        tokio::pin!(turn);
        loop {
            let known = compiled.borrow_and_update().clone();
            if known.is_some_and(|it| suffices(&it)) {
                return None;
            }
            tokio::select! {
                biased;
                // The sender exists as long as `self`.
                _ = compiled.changed() => {}
                turn = &mut turn => return Some(turn),
            }
        }
    }

    async fn to_build(&self, workspace_root: &Path) -> Turn {
        let turn = self.to_lock(workspace_root).await;
        Turn { _build: self.permit().await, ..turn }
    }

    /// Waits until a process that is not cargo may compile for this builder.
    pub(super) async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.builds.clone().acquire_owned().await.ok()
    }

    /// Waits until cargo may write the lock file of this workspace.
    pub(super) async fn to_lock(&self, workspace_root: &Path) -> Turn {
        let Workspace { alone, compiled } = self.of(workspace_root);
        Turn { alone: Arc::new(alone.lock_owned().await), _build: None, compiled }
    }

    fn of(&self, workspace_root: &Path) -> Workspace {
        self.workspaces.lock().entry(workspace_root.to_owned()).or_default().clone()
    }
}
