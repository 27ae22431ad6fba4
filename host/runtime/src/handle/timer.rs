//! The deadline of a call by name. It works for a task on any async runtime, and also without a runtime.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
    time::Instant,
};
use tokio::{runtime, sync::oneshot, task::JoinHandle, time::sleep_until};

/// Waits for a point in time, even after the host has shut down.
#[derive(Debug)]
pub(super) enum Timer {
    /// A task on the host's runtime. After the runtime has shut down, its timers must not be polled, but a task may be.
    Host(JoinHandle<()>),
    /// A thread, because the host has shut down.
    Thread(oneshot::Receiver<()>),
}

impl Timer {
    pub(super) fn start(host: &runtime::Handle, until: Instant) -> Self {
        Self::Host(host.spawn(async move { sleep_until(until.into()).await }))
    }

    /// Ready at the time `until`.
    pub(super) fn poll(&mut self, until: Instant, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Self::Host(task) => match ready!(Pin::new(task).poll(context)) {
                    Ok(()) => return Poll::Ready(()),
                    Err(_) => *self = Self::on_a_thread(until),
                },
                Self::Thread(ended) => return Pin::new(ended).poll(context).map(drop),
            }
        }
    }

    fn on_a_thread(until: Instant) -> Self {
        let (end, ended) = oneshot::channel();
        let wait = move || {
            thread::sleep(until.saturating_duration_since(Instant::now()));
            drop(end);
        };
        // If no thread can be started, the deadline counts as reached. Otherwise, the caller would wait forever.
        drop(thread::Builder::new().name("replug-deadline".into()).spawn(wait));
        Self::Thread(ended)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Self::Host(task) = self {
            task.abort();
        }
    }
}
