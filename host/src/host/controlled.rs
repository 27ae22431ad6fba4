//! What the control plane asks of a host, without keeping it alive.

use super::{Host, Inner};
#[cfg(doc)]
use crate::HostBuilder;
use crate::error::HostError;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// How much longer than its `call_timeout` to wait for the end of a call in another process.
const GRACE: Duration = Duration::from_secs(1);

impl Host {
    /// Where the control plane listens, if the host was [told to](HostBuilder::control).
    pub fn control(&self) -> Option<&crate::control::Listening> {
        self.inner.control.get()
    }

    /// How long to wait for a call of the plugin's, if its manifest does not say.
    pub(crate) fn patience(&self, id: &str, unsaid: Duration) -> Result<Duration, HostError> {
        let manifest = self.desk(id)?.manifest.lock().clone();
        Ok(match (manifest.mode, manifest.process.call_timeout) {
            // It is ended by others, who know better what happened.
            (crate::manifest::Mode::Process, Some(timeout)) => timeout + GRACE,
            (_, Some(timeout)) => timeout,
            (_, None) => unsaid,
        })
    }

    /// Whether the plugin is on its way to serve.
    pub(crate) fn is_coming_up(&self, id: &str) -> bool {
        self.desk(id).is_ok_and(|desk| {
            let comes = desk.progress.lock().doing.is_some() || desk.entry.is_restarting();
            desk.entry.live().is_none() && comes
        })
    }

    /// Lets the control plane answer.
    pub(crate) fn answer(&self, bound: crate::control::Bound) {
        let listening = bound.serve(&self.runtime(), self.downgrade());
        self.event_sink().host(listening.event());
        // Only the builder calls this, once.
        let _ = self.inner.control.set(listening);
    }

    pub(crate) fn downgrade(&self) -> WeakHost {
        WeakHost { inner: Arc::downgrade(&self.inner) }
    }
}

/// A host that does not stay for the sake of whoever holds this.
#[derive(Clone)]
pub(crate) struct WeakHost {
    inner: Weak<Inner>,
}

impl WeakHost {
    /// The host, while it is there.
    pub(crate) fn upgrade(&self) -> Option<Host> {
        self.inner.upgrade().map(|inner| Host { inner })
    }
}
