//! [`Attachment`]: what is attached to a host, and begins and ends with it, such as its control plane.

use crate::{
    error::HostError,
    event::{EventSink, Events},
    host::WeakHost,
};
use std::{error::Error, fmt, path::Path, pin::Pin, sync::Arc};

/// A future of an [`Attachment`]'s.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why an [`Attachment`] cannot begin.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Something that begins and ends with a host, and uses it through its public API only. Given to
/// [`HostBuilder::attach`](crate::HostBuilder::attach).
///
/// The host calls the methods in the order in which they stand here, each in its own tokio runtime. It holds the
/// attachment; the attachment holds the host weakly, so that neither keeps the other alive.
pub trait Attachment: Send + 'static {
    /// Takes what only one host can have, such as a socket. Called before the host starts or changes anything, so that a
    /// second host on the same folders does no harm if this fails: then it does not start.
    ///
    /// # Errors
    ///
    /// Whatever keeps the attachment from its work. It becomes a [`HostError::Attachment`].
    fn bind<'a>(&'a mut self, at: Starting<'a>) -> BoxFuture<'a, Result<(), BoxError>>;

    /// Begins to work. Called once, when the host is there; its plugins may still be on their way.
    fn serve(&mut self, host: WeakHost);

    /// Takes on nothing new, and gives back what [`Attachment::bind`] has taken. Called when the host has stopped its
    /// plugins, before it emits `host_stopped`; and again when the host is dropped, whatever was called before.
    fn close(&mut self);

    /// Waits for what still goes on after [`Attachment::close`]. Called once `host_stopped` was emitted; the host waits
    /// for at most 5 s.
    fn drained(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A host that is about to start.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Starting<'a> {
    /// Its plugins folder.
    pub plugins_dir: &'a Path,
    /// Its state folder.
    pub state_dir: &'a Path,
    /// The program that can be run again for what outlives this process: see
    /// [`shim::run_if_asked`](crate::shim::run_if_asked). None if there is no such program.
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

    /// The host's events from now on, those of the start included.
    pub fn events(&self) -> Events {
        self.events.subscribe()
    }
}

/// The attachments of one host. They are closed at the latest when this is dropped.
#[derive(Default)]
pub(crate) struct Attachments(Vec<Box<dyn Attachment>>);

impl Attachments {
    pub(crate) fn add(&mut self, attachment: impl Attachment) {
        self.0.push(Box::new(attachment));
    }

    /// Binds all, or none.
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
