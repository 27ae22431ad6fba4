//! [`WeakHost`]: a weak reference to a host.

use super::{Host, Inner};
use std::{
    fmt,
    sync::{Arc, Weak},
};

/// A weak reference to a host, which does not prevent the host from being dropped. Made by [`Host::downgrade`].
#[derive(Clone)]
pub struct WeakHost {
    inner: Weak<Inner>,
}

impl WeakHost {
    pub(super) fn of(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::downgrade(inner) }
    }

    /// The host, if it still exists.
    pub fn upgrade(&self) -> Option<Host> {
        self.inner.upgrade().map(|inner| Host { inner })
    }
}

impl fmt::Debug for WeakHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WeakHost").field(&self.upgrade()).finish()
    }
}
