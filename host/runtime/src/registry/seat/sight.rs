//! What all threads are in the middle of, as another thread sees it.

use super::{LANES_PER_CHUNK, MAX_DEPTH, SEATS, Tid};
use crate::registry::mark::Mark;
use std::sync::{OnceLock, atomic::Ordering};

/// A thread in the middle of something, as another thread sees it. As long as all of it stays the same, so does what the
/// thread is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Sighting {
    /// Which seat, and how deep inside.
    pub(in crate::registry) place: (usize, usize),
    pub(in crate::registry) mark: Mark,
    pub(in crate::registry) tid: Tid,
    /// How many calls of that generation the thread has ended.
    ended: u64,
}

/// What all threads are in the middle of.
pub(in crate::registry) fn sightings() -> Vec<Sighting> {
    let mut found = Vec::new();
    for (number, seat) in SEATS.read().iter().enumerate() {
        let depth = seat.depth.load(Ordering::Relaxed).min(MAX_DEPTH);
        for (level, announcement) in seat.announced[..depth].iter().enumerate() {
            let mark = Mark(announcement.mark.load(Ordering::Relaxed));
            let Some(whereabouts) = mark.read() else { continue };
            let (chunk, place) = (
                usize::from(whereabouts.lane) / LANES_PER_CHUNK,
                usize::from(whereabouts.lane) % LANES_PER_CHUNK,
            );
            let counts = seat.counts.get(chunk).and_then(OnceLock::get);
            let ended = counts.map_or(0, |counts| counts[place].read().calls);
            let tid = seat.tid.load(Ordering::Relaxed);
            found.push(Sighting { place: (number, level), mark, tid, ended });
        }
    }
    found
}
