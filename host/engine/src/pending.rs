//! The pending result of a request: async code awaits it, other code blocks on it.

use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio::sync::oneshot;

/// The pending result of a request to the host.
///
/// Async code awaits it, on any executor. Other code blocks on it with [`Pending::wait`]. Dropping it does not cancel
/// the request.
#[derive(Debug)]
#[must_use = "await it, or block on it with `wait`"]
pub struct Pending<T> {
    receiver: oneshot::Receiver<T>,
    if_gone: fn() -> T,
}

impl<T> Pending<T> {
    /// The value that `receiver` will receive. If the sender is dropped, the value is the result of `if_gone`.
    pub(crate) fn new(receiver: oneshot::Receiver<T>, if_gone: fn() -> T) -> Self {
        Self { receiver, if_gone }
    }

    /// Blocks until the result is available.
    ///
    /// # Panics
    ///
    /// If called in async code on a tokio runtime. Such code has to await the result.
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
