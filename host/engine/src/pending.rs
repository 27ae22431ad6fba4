//! An answer that is not ready yet: async code awaits it, other code blocks on it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// An answer of the host that is not ready yet.
///
/// Async code awaits it, under any executor; elsewhere, [`Pending::wait`] blocks. Dropping it cancels nothing.
#[derive(Debug)]
#[must_use = "await it, or block on it with `wait`"]
pub struct Pending<T> {
    receiver: oneshot::Receiver<T>,
    if_gone: fn() -> T,
}

impl<T> Pending<T> {
    /// The answer that `receiver` will get. If the sender is dropped, `if_gone` gives the answer.
    pub(crate) fn new(receiver: oneshot::Receiver<T>, if_gone: fn() -> T) -> Self {
        Self { receiver, if_gone }
    }

    /// Blocks until the answer is there.
    ///
    /// # Panics
    ///
    /// If called on a thread of a tokio runtime: await it there.
    pub fn wait(self) -> T {
        self.receiver.blocking_recv().unwrap_or_else(|_| (self.if_gone)())
    }
}

impl<T> Future for Pending<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.receiver).poll(context).map(|answer| answer.unwrap_or_else(|_| (self.if_gone)()))
    }
}
