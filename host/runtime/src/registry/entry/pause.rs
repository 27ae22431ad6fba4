//! The pause in which a state is handed over: new calls wait, and none runs.

use super::{Entry, Retiring, ports};
use crate::registry::{
    caller::HANDING_OVER,
    gate::Shut,
    record::{Live, Record},
};
use std::{sync::Arc, time::Duration};

impl Entry {
    /// Lets new calls wait, and waits for those that run.
    ///
    /// # Errors
    ///
    /// [`PauseError`] if calls still run after `deadline`; then it is as if nothing had happened.
    pub fn pause(self: &Arc<Self>, deadline: Duration) -> Result<Paused, PauseError> {
        let mut inner = self.inner.lock();
        let live = inner.live.clone().ok_or(PauseError::NothingServes)?;
        if inner.pause.is_some() {
            return Err(PauseError::HandingOver);
        }
        inner.pauses += 1;
        let number = inner.pauses;
        inner.pause = Some(number);
        self.shut(&mut inner, Shut::Paused);
        drop(inner);
        HANDING_OVER.set(true);
        let paused = Paused { entry: self.clone(), live, number };
        if self.drained_within(&paused.live, Some(deadline)) {
            return Ok(paused);
        }
        let running = self.in_use(&paused.live).max(1);
        Err(PauseError::Deadline { deadline, running })
    }

    /// Ends a pause of which it is not known when its owner will: the generation that was paused goes on.
    pub fn resume(&self) {
        let mut inner = self.inner.lock();
        let (Some(_), Some(live)) = (inner.pause.take(), inner.live.clone()) else { return };
        let ports = ports(&live, &inner.wanted).expect("it served these handles before");
        self.open(&mut inner, Record::new(live, ports));
    }
}

/// A plugin whose calls wait, and which runs none. Dropped, it goes on as before.
pub struct Paused {
    entry: Arc<Entry>,
    live: Arc<Live>,
    number: u64,
}

impl Paused {
    /// The generation that is paused.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }
}

impl Paused {
    /// Takes the generation out, while calls go on waiting: until another one serves, or the plugin is closed. None if the
    /// pause was ended meanwhile.
    pub fn vacate(self) -> Option<(Vacant, Retiring)> {
        let entry = self.entry.clone();
        let number = self.number;
        // Ends nothing: `vacant` goes on where it ends.
        let vacant = Vacant::new();
        let mut inner = entry.inner.lock();
        if inner.pause != Some(number) {
            return None;
        }
        inner.pause = None;
        let old = inner.live.take();
        inner.note_retiring(old.as_ref());
        drop(inner);
        drop(self);
        HANDING_OVER.set(true);
        entry.retiring(old).map(|retiring| (vacant, retiring))
    }
}

/// A plugin without a generation, whose calls wait for the next one. The thread that brings that up must not wait with them.
pub struct Vacant(());

impl Vacant {
    fn new() -> Self {
        HANDING_OVER.set(true);
        Self(())
    }
}

impl Drop for Vacant {
    fn drop(&mut self) {
        HANDING_OVER.set(false);
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        HANDING_OVER.set(false);
        // A later pause is not this one's to end.
        if self.entry.inner.lock().pause == Some(self.number) {
            self.entry.resume();
        }
    }
}

/// Why a plugin could not be paused.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// No generation serves.
    #[error("no generation serves")]
    NothingServes,
    /// An earlier hand-over has been given up, and its `save` has not come back.
    #[error("`save` of an earlier reload has not come back yet: wait for it, or restart the host")]
    HandingOver,
    /// Calls still ran.
    #[error("calls still run after {} ({running}): raise `drain_timeout` under [reload], or make them shorter", humantime::format_duration(*.deadline))]
    Deadline {
        /// How long was waited.
        deadline: Duration,
        /// How many calls did not end.
        running: usize,
    },
}

replug_model::readable::readable!(PauseError);
