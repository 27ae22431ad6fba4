//! The pause during which the state is handed over: new calls wait, and no call runs.

use super::{Entry, Retiring, ports};
use crate::registry::{
    caller::HANDING_OVER,
    gate::Shut,
    record::{Live, Record},
};
use std::{sync::Arc, time::Duration};

impl Entry {
    /// Makes new calls wait, and waits until the running calls have returned.
    ///
    /// # Errors
    ///
    /// * [`PauseError::Deadline`] if calls still run after `deadline`; the pause is undone
    /// * [`PauseError::NothingServes`], [`PauseError::HandingOver`]
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

    /// Ends a pause from another thread, because the thread that owns the [`Paused`] may be stuck: the paused
    /// generation serves again.
    pub fn resume(&self) {
        let mut inner = self.inner.lock();
        let (Some(_), Some(live)) = (inner.pause.take(), inner.live.clone()) else { return };
        let ports = ports(&live, &inner.wanted).expect("the generation served these handles before");
        self.open(&mut inner, Record::new(live, ports));
    }
}

/// A plugin that is paused: new calls wait, and no call runs. Dropping this value makes the generation serve again.
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
    /// Takes the generation out of service. Calls keep waiting until another generation serves, or the host rejects
    /// calls to the plugin. `None` if the pause was ended meanwhile.
    pub fn vacate(self) -> Option<(Vacant, Retiring)> {
        let entry = self.entry.clone();
        let number = self.number;
        // From here on, `vacant` keeps `HANDING_OVER` set, and resets it when dropped. Calls keep waiting after `self`
        // is dropped.
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

/// A plugin without a generation, whose calls wait for the next one. On the thread that starts the next generation,
/// calls get an error instead, because they would wait for their own thread.
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
        // Another pause, which began later, must not be ended here.
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
    /// An earlier reload was abandoned while it handed the state over, and its `save` has not returned.
    #[error("`save` of an earlier reload has not returned yet: wait for it, or restart the host")]
    HandingOver,
    /// Calls were still running.
    #[error("calls still run after {} ({running}): raise `drain_timeout` under [reload], or make the calls shorter", humantime::format_duration(*.deadline))]
    Deadline {
        /// How long the host waited.
        deadline: Duration,
        /// How many calls had not returned.
        running: usize,
    },
}

replug_model::readable::readable!(PauseError);
