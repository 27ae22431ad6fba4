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
pub(crate) struct Spares(Option<(Arc<SparePool>, OwnedSemaphorePermit)>);

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
        if self.0.is_some() || count == 0 {
            return;
        }
        let Ok(slot) = slots.0.clone().try_acquire_owned() else { return };
        let pool = Arc::new(SparePool::to_be_filled(count));
        let (filled, program) = (pool.clone(), program.clone());
        let fill = move || {
            let environment =
                if is_outside { Environment::Own(&manifest.process.env) } else { Environment::Host };
            filled.fill(&ProcessSpec {
                program: &program,
                plugin: manifest.id.clone(),
                generation,
                limits: manifest.limits,
                environment,
                static_tls_bytes,
            });
        };
        if thread::Builder::new().name("replug-spare".into()).spawn(fill).is_ok() {
            self.0 = Some((pool, slot));
        }
    }

    /// The processes, if any were prepared.
    pub(crate) fn pool(&self) -> Option<Arc<SparePool>> {
        self.0.as_ref().map(|(pool, _)| pool.clone())
    }

    /// Kills the processes that were not used, on another thread.
    pub(crate) fn close(&mut self) {
        let Some((pool, slot)) = self.0.take() else { return };
        let close = move || {
            pool.close();
            drop(slot);
        };
        // If no thread can be started, this thread kills the processes when it drops the pool.
        let _ = thread::Builder::new().name("replug-spare".into()).spawn(close);
    }
}
