//! A generation that no longer serves, until its last call has returned.

use super::{Entry, Live};
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// A generation that no longer serves, and may still run calls.
#[must_use = "call `drain`, so that the instance can be dropped"]
pub struct Retiring {
    pub(super) entry: Arc<Entry>,
    pub(super) live: Arc<Live>,
}

impl Retiring {
    /// Waits until the last call has returned, and returns the generation.
    ///
    /// # Errors
    ///
    /// Returns this value if calls still run after `deadline`.
    pub fn drain(self, deadline: Option<Duration>) -> Result<Live, Self> {
        let began = Instant::now();
        if !self.entry.drained_within(&self.live, deadline) {
            return Err(self);
        }
        let Self { entry, mut live } = self;
        // Code that lists generations may hold further references to this one, but only briefly.
        loop {
            // The counts move to `past` under the lock, so that a thread that sums up the calls counts each call
            // exactly once.
            let unwrapped = {
                let mut inner = entry.inner.lock();
                Arc::try_unwrap(live).inspect(|live| *inner.past.of_mut(live.traits().mode()) += live.calls())
            };
            match unwrapped {
                Ok(live) => return Ok(live),
                Err(shared) if deadline.is_some_and(|deadline| began.elapsed() >= deadline) => {
                    return Err(Self { entry, live: shared });
                }
                Err(shared) => {
                    live = shared;
                    thread::sleep(Duration::from_micros(50));
                }
            }
        }
    }

    /// The generation.
    pub fn live(&self) -> &Live {
        &self.live
    }
}
