//! The calls of a plugin, summed over its generations: their number and their durations.

use super::{entry::Entry, record::Live, thread_slot::Calls};
use replug_model::{
    limits::Mode,
    metrics::{CallEnd, Histogram, Took},
};

/// One value for the generations in this process, and one for those in child processes.
pub(super) struct ByMode<T> {
    pub(super) in_process: T,
    pub(super) process: T,
}

impl<T> ByMode<T> {
    pub(super) fn of(&self, mode: Mode) -> &T {
        match mode {
            Mode::Process => &self.process,
            _ => &self.in_process,
        }
    }

    pub(super) fn of_mut(&mut self, mode: Mode) -> &mut T {
        match mode {
            Mode::Process => &mut self.process,
            _ => &mut self.in_process,
        }
    }
}

/// The calls of those generations of a plugin that ran, or run, in this mode.
pub struct CallsIn {
    /// The mode.
    pub mode: Mode,
    /// How many calls there were, and how many failed.
    pub calls: Calls,
    /// The durations of those calls that were timed and ended with `CallEnd::Ok`.
    pub returned: Histogram,
    /// The durations of the timed calls that failed.
    pub failed: Histogram,
}

impl Entry {
    /// The number of calls of all generations so far.
    pub fn calls(&self) -> Calls {
        let mut total = self.calls_in(Mode::InProcess);
        total += self.calls_in(Mode::Process);
        total
    }

    /// The number and the durations of the calls of all generations so far, by mode.
    pub fn calls_by_mode(&self) -> [CallsIn; 2] {
        [Mode::InProcess, Mode::Process].map(|mode| {
            let (returned, failed) = self.times.of(mode).read();
            CallsIn { mode, calls: self.calls_in(mode), returned, failed }
        })
    }

    /// Records the duration of a call into `live`, a generation of this plugin, among those of its mode.
    #[cold]
    pub(crate) fn note_time(&self, took: Took, end: CallEnd, live: &Live) {
        self.times.of(live.traits().mode()).note(took, end);
    }
}
