//! A number that survives reloads.
//!
//! This example shows `State`, which the old generation saves and the new one restores while no call runs. Edit
//! and save this file while you count, and the count continues.

use replug_api::prelude::*;
use replug_interfaces::Counter;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counter.
#[derive(Debug, Default)]
pub struct Tally {
    value: AtomicU64,
}

/// The state for the next generation. Increase [`Plugin::STATE_VERSION`] when the shape of this type changes.
#[replug_api::state]
#[derive(Debug)]
pub struct Saved {
    /// The value of the counter.
    pub value: u64,
}

impl Plugin for Tally {
    type Config = ();
    type State = Saved;
    const STATE_VERSION: u32 = 1;

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self::default())
    }

    fn save(&self) -> Result<Saved, PluginError> {
        Ok(Saved { value: self.value() })
    }

    fn restore(&self, from_version: u32, state: SavedState) -> Result<(), PluginError> {
        match from_version {
            1 => self.value.store(state.decode::<Saved>()?.value, Relaxed),
            unknown => return Err(PluginError::unknown_state_version(unknown, Self::STATE_VERSION)),
        }
        Ok(())
    }
}

impl Counter for Tally {
    fn increment(&self, by: u64) -> u64 {
        let add = |value: u64| value.saturating_add(by);
        let (Ok(before) | Err(before)) = self.value.fetch_update(Relaxed, Relaxed, |value| Some(add(value)));
        add(before)
    }

    fn value(&self) -> u64 {
        self.value.load(Relaxed)
    }
}

replug_api::export!(Tally: Counter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_saturates_at_the_largest_number() {
        let counter = Tally::default();
        assert_eq!((counter.increment(1), counter.increment(41), counter.value()), (1, 42, 42));
        assert_eq!(counter.increment(u64::MAX), u64::MAX);
    }

    #[test]
    fn the_next_generation_continues_from_the_saved_count() {
        let (old, new) = (Tally::default(), Tally::default());
        old.increment(42);
        let saved = SavedState::encode(&old.save().expect("save")).expect("encode");
        new.restore(Tally::STATE_VERSION, saved).expect("restore");
        assert_eq!(new.increment(1), 43);
    }

    #[test]
    fn a_state_of_a_later_version_is_rejected_and_changes_nothing() {
        let counter = Tally::default();
        let saved = SavedState::encode(&Saved { value: 42 }).expect("encode");
        let error = counter.restore(2, saved).expect_err("unknown version");
        assert_eq!((error.code.as_str(), counter.value()), ("unknown_state_version", 0));
    }
}
