//! Work that may block. It runs on its own thread, and the worker can limit how long it waits for the result.

use super::Worker;
use crate::{error::ReloadCause, registry::Live, step::Step};
use std::{sync::Arc, thread};
use tokio::sync::oneshot;

impl Worker {
    /// Runs a step of a serving generation, and waits for it until the step timeout. A generation that enforces its own
    /// deadline for steps needs no such timeout. If a step takes too long, its thread is abandoned.
    pub(super) async fn bounded<T: Send + 'static>(
        &self,
        of: (Arc<Live>, Step),
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ReloadCause> {
        let (live, step) = of;
        let done = blocking(work);
        if live.traits().steps_have_a_deadline {
            return done.await;
        }
        let deadline = self.manifest().process.step_timeout;
        let late = |_| ReloadCause::Late { step, deadline };
        tokio::time::timeout(deadline, done).await.map_err(late)?
    }
}

/// Runs work that may block, or that calls the plugin's code, on a thread that exits after the work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReloadCause> {
    let (reply, done) = oneshot::channel();
    let thread = thread::Builder::new().name("replug-reload".into()).spawn(move || {
        // An error means that the receiver no longer waits.
        let _ = reply.send(work());
    });
    thread.map_err(|error| ReloadCause::Bug(format!("cannot start a thread: {error}")))?;
    done.await.map_err(|_| ReloadCause::Bug("see the panic above".into()))
}
