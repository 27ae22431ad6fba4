//! Observes, from another thread, the calls that threads are inside. The watchdog uses this.

use super::{COLUMNS, THREAD_SLOTS, Tid};
use crate::registry::mark::Mark;
use std::sync::atomic::Ordering;

/// A call that a thread is inside. As long as no field changes between observations, the thread is in the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Sighting {
    /// The number of the thread slot, and the number of calls around this one.
    pub(in crate::registry) place: (usize, usize),
    pub(in crate::registry) mark: Mark,
    pub(in crate::registry) tid: Tid,
    /// How many calls of the thread into that generation have returned or failed.
    ended: u64,
}

/// All calls that all threads are inside. A mark without a call table is not such a call: the thread runs a lifecycle step,
/// or it runs a method for another thread, which is inside the call.
pub(in crate::registry) fn sightings() -> Vec<Sighting> {
    let mut found = Vec::new();
    for (number, thread_slot) in THREAD_SLOTS.read().iter().enumerate() {
        for (level, announcement) in thread_slot.announcements().iter().enumerate() {
            if announcement.hazard.load(Ordering::Relaxed).is_null() {
                continue;
            }
            let mark = Mark(announcement.mark.load(Ordering::Relaxed));
            let Some(contents) = mark.read() else { continue };
            let ended = thread_slot.counts[usize::from(contents.column) % COLUMNS].read().calls;
            let tid = thread_slot.tid.load(Ordering::Relaxed);
            found.push(Sighting { place: (number, level), mark, tid, ended });
        }
    }
    found
}
