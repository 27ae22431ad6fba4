//! Starts the processes for a version while the version is being built.

use crate::{
    id::Generation,
    load::process::{Environment, ProcessSpec, SparePool},
    manifest::{Manifest, Mode, Trial},
    program::Program,
};
use std::{
    sync::Arc,
    thread::{self, available_parallelism},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permissions to keep spare processes: one for each processor, because no more plugins compile at the same time.
#[derive(Clone, Debug)]
pub(crate) struct SpareSlots(Arc<Semaphore>);

impl Default for SpareSlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }
}

/// The spare processes of a plugin that is being built or installed.
#[derive(Default)]
pub(crate) struct Spares(Option<Prepared>);

/// The processes for one version, and their slot. The threads that start and kill the processes share the slot. So it
/// is free only when none of the processes that nobody has taken remains.
#[derive(Clone)]
struct Prepared {
    pool: Arc<SparePool>,
    slot: Arc<OwnedSemaphorePermit>,
}

impl Spares {
    /// Begins to start the processes that the generation will need, as far as its manifest says: one for the trial, and
    /// one for a plugin that always runs in a child process. Starts none if all slots are taken.
    pub(crate) fn prepare(
        &mut self,
        slots: &SpareSlots,
        program: &Program,
        (manifest, generation): (Arc<Manifest>, Generation),
        static_tls_bytes: u64,
    ) {
        let is_outside = manifest.mode == Mode::Process;
        let count = usize::from(manifest.reload.preflight != Trial::Off) + usize::from(is_outside);
        if count == 0 {
            return;
        }
        let program = program.clone();
        self.fill_with(slots, count, move |pool| {
            let environment =
                if is_outside { Environment::Own(&manifest.process.env) } else { Environment::Host };
            pool.fill(&ProcessSpec {
                program: &program,
                plugin: manifest.id.clone(),
                generation,
                limits: manifest.limits,
                environment,
                static_tls_bytes,
            });
        });
    }

    /// Fills a pool for `count` processes on another thread, unless processes were prepared before, or all slots are
    /// taken.
    fn fill_with(
        &mut self,
        slots: &SpareSlots,
        count: usize,
        fill: impl FnOnce(&SparePool) + Send + 'static,
    ) {
        if self.0.is_some() {
            return;
        }
        let Ok(slot) = slots.0.clone().try_acquire_owned() else { return };
        let prepared = Prepared { pool: Arc::new(SparePool::to_be_filled(count)), slot: Arc::new(slot) };
        let Prepared { pool, slot } = prepared.clone();
        let fill = move || {
            fill(&pool);
            drop(slot);
        };
        if thread::Builder::new().name("replug-spare".into()).spawn(fill).is_ok() {
            self.0 = Some(prepared);
        }
    }

    /// The processes, if any were prepared.
    pub(crate) fn pool(&self) -> Option<Arc<SparePool>> {
        self.0.as_ref().map(|prepared| prepared.pool.clone())
    }

    /// Kills the processes that were not used, on another thread. Dropping this value does the same.
    pub(crate) fn close(&mut self) {
        let Some(prepared) = self.0.take() else { return };
        let Prepared { pool, slot } = prepared.clone();
        let close = move || {
            pool.close();
            drop(slot);
        };
        if thread::Builder::new().name("replug-spare".into()).spawn(close).is_err() {
            // No thread can be started, so this thread kills the processes. Dropping the pool would not kill them,
            // because the thread that fills the pool and an abandoned job have references to it.
            prepared.pool.close();
        }
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn a_slot_stays_taken_while_a_process_is_being_started() {
        let slots = SpareSlots(Arc::new(Semaphore::new(1)));
        let (starts, started) = mpsc::channel();
        let (go_on, goes_on) = mpsc::channel::<()>();
        let mut spares = Spares::default();
        spares.fill_with(&slots, 1, move |_| {
            starts.send(()).unwrap();
            let _ = goes_on.recv();
        });
        started.recv().unwrap();
        let closed = spares.pool().unwrap();
        spares.close();
        // Only this test and the thread that fills the pool have references to the pool when it was closed.
        while Arc::strong_count(&closed) > 2 {
            thread::yield_now();
        }
        assert_eq!(slots.0.available_permits(), 0, "a process is still being started");
        drop(go_on);
        let _slot = slots.0.acquire().await.unwrap();
    }
}
