//! What may block runs on a thread of its own, and is waited for as long as it may take.

use super::Worker;
use crate::{error::ReloadCause, registry::Live, step::Step};
use std::{sync::Arc, thread};
use tokio::sync::oneshot;

impl Worker {
    /// Runs a step of a generation that serves, and waits for it as long as a step may take. One that has a deadline of its
    /// own comes back by that; one that takes longer is left to its thread.
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

/// Runs what may block, or runs the author's code, on a thread of its own that ends with it.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ReloadCause> {
    let (reply, done) = oneshot::channel();
    let thread = thread::Builder::new().name("replug-reload".into()).spawn(move || {
        // No one listens when the host is gone.
        let _ = reply.send(work());
    });
    thread.map_err(|error| ReloadCause::Bug(format!("no thread for it: {error}")))?;
    done.await.map_err(|_| ReloadCause::Bug("see the panic above".into()))
}
