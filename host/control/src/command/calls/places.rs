//! A limit on the number of concurrent calls. A call that finds no place gets an error instead of waiting for one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The places for calls.
#[derive(Debug)]
pub(in crate::command) struct Places {
    free: AtomicUsize,
}

/// The place of a call. Dropping it frees the place.
#[derive(Debug)]
pub(in crate::command) struct TakenPlace(Arc<Places>);

impl Places {
    pub(in crate::command) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { free: AtomicUsize::new(most) })
    }

    /// Takes a place. `None` if there is none.
    pub(in crate::command) fn take(self: &Arc<Self>) -> Option<TakenPlace> {
        let fewer = |free: usize| free.checked_sub(1);
        self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).ok()?;
        Some(TakenPlace(self.clone()))
    }
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        self.0.free.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_can_be_taken_again_after_it_is_freed() {
        let places = Places::new(2);
        let (first, _second) = (places.take().unwrap(), places.take().unwrap());
        assert!(places.take().is_none());
        drop(first);
        let _third = places.take().unwrap();
        assert!(places.take().is_none());
    }
}
