//! [`Attachment`]: a component that starts and stops with a host, such as its control plane.

use super::WeakHost;
use crate::{
    error::HostError,
    event::{EventSink, Events},
};
use std::{error::Error, fmt, path::Path, pin::Pin, sync::Arc};

/// A future of an [`Attachment`].
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why [`Attachment::bind`] failed.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A component that starts and stops with a host, and uses only the host's public API. Passed to
/// [`HostBuilder::attach`](crate::HostBuilder::attach).
///
/// The host calls the methods in the order of their declaration, on its own tokio runtime. The host owns the
/// attachment, and the attachment has only a weak reference to the host, so the host can be dropped.
pub trait Attachment: Send + 'static {
    /// Acquires exclusive resources, such as a socket. Called before the host starts a plugin or changes a record. If
    /// this fails, the host does not start, so that a second host on the same folders does no harm.
    ///
    /// # Errors
    ///
    /// The reason why the attachment cannot work. The host returns it as a [`HostError::Attachment`].
    fn bind<'a>(&'a mut self, at: Starting<'a>) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Begins to work. Called once, when the host exists. The plugins may still be starting.
    fn serve(&mut self, host: WeakHost);

    /// Accepts no new work, and releases the resources of [`Attachment::bind`]. Called after the host has stopped its
    /// plugins and before it emits `host_stopped`. Called once more when the host is dropped, even if `bind` was never
    /// called.
    fn close(&mut self);

    /// Waits for work that is still in progress after [`Attachment::close`]. Called after `host_stopped` was emitted.
    /// The host drops the future after 5 s.
    fn drained(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A host that is about to start.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Starting<'a> {
    /// The host's plugins folder, as an absolute path.
    pub plugins_dir: &'a Path,
    /// The host's state folder, as an absolute path.
    pub state_dir: &'a Path,
    /// The program that is executed for child processes. It calls [`shim::run_if_asked`](crate::shim::run_if_asked) in
    /// its `main`. `None` if there is no such program.
    pub program: Option<&'a Path>,
    events: &'a EventSink,
}

impl<'a> Starting<'a> {
    pub(crate) fn new(
        (plugins_dir, state_dir): (&'a Path, &'a Path),
        program: Option<&'a Path>,
        events: &'a EventSink,
    ) -> Self {
        Self { plugins_dir, state_dir, program, events }
    }

    /// The host's events from now on, including those of the start.
    pub fn events(&self) -> Events {
        self.events.subscribe()
    }
}

/// The attachments of one host. They are closed when this is dropped.
#[derive(Default)]
pub(crate) struct Attachments(Vec<Box<dyn Attachment>>);

impl Attachments {
    pub(crate) fn add(&mut self, attachment: impl Attachment) {
        self.0.push(Box::new(attachment));
    }

    /// Binds the attachments one after another, until all are bound or one fails.
    pub(crate) async fn bind(&mut self, at: Starting<'_>) -> Result<(), HostError> {
        for attachment in &mut self.0 {
            attachment.bind(at).await.map_err(|error| HostError::Attachment(Arc::from(error)))?;
        }
        Ok(())
    }

    pub(crate) fn serve(&mut self, host: &WeakHost) {
        self.0.iter_mut().for_each(|attachment| attachment.serve(host.clone()));
    }

    pub(crate) fn close(&mut self) {
        self.0.iter_mut().for_each(|attachment| attachment.close());
    }

    pub(crate) async fn drained(&mut self) {
        for attachment in &mut self.0 {
            attachment.drained().await;
        }
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Attachments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} attachments", self.0.len())
    }
}
