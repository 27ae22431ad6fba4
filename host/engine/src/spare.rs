//! Starts the processes for a version while the version is being built.

use crate::{
    id::Generation,
    load::process::{Environment, ProcessSpec, Spare},
    manifest::{Manifest, Mode, Trial},
    program::Program,
};
use std::{
    sync::Arc,
    thread::{self, available_parallelism},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// The permissions to keep spare processes: one for each processor, because no more plugins compile at the same time.
#[derive(Clone, Debug)]
pub(crate) struct SpareSlots(Arc<Semaphore>);

impl Default for SpareSlots {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(available_parallelism().map_or(1, usize::from))))
    }
}

/// The spare processes of a plugin that is being built.
#[derive(Default)]
pub(crate) struct Spares(Option<Starting>);

struct Starting {
    spares: oneshot::Receiver<Vec<Spare>>,
    _slot: OwnedSemaphorePermit,
}

impl Spares {
    /// Begins to start the processes that the generation will need, as far as its manifest says: one for the trial, and
    /// one for a plugin that always runs in a child process. Starts none if all slots are taken.
    pub(crate) fn prepare(
        &mut self,
        slots: &SpareSlots,
        program: &Program,
        (manifest, generation): (&Arc<Manifest>, Generation),
    ) {
        let is_outside = manifest.mode == Mode::Process;
        let count = usize::from(manifest.reload.preflight != Trial::Off) + usize::from(is_outside);
        if self.0.is_some() || count == 0 {
            return;
        }
        let Ok(slot) = slots.0.clone().try_acquire_owned() else { return };
        let (reply, spares) = oneshot::channel();
        let (program, manifest) = (program.clone(), manifest.clone());
        let start = move || {
            let environment =
                if is_outside { Environment::Own(&manifest.process.env) } else { Environment::Host };
            let spec = ProcessSpec {
                program: &program,
                plugin: manifest.id.clone(),
                generation,
                limits: manifest.limits,
                environment,
                static_tls_bytes: 0,
            };
            // After an error, the process is started again when it is needed. The error is reported then.
            let started = (0..count).map_while(|_| Spare::start(&spec).ok()).collect();
            // If nobody waits any more, the processes are killed here.
            let _ = reply.send(started);
        };
        if thread::Builder::new().name("replug-spare".into()).spawn(start).is_ok() {
            self.0 = Some(Starting { spares, _slot: slot });
        }
    }

    /// Waits until the processes have been started, and returns them.
    pub(crate) async fn take(&mut self) -> Vec<Spare> {
        match self.0.take() {
            Some(starting) => starting.spares.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}
