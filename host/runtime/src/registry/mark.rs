//! Marks: which code a thread is about to run, in one word that a single store can write.

use super::thread_slot::{CallColumn, Level, ThreadSlot};
use replug_model::step::Step;

/// The code that a thread is running: a generation, and a method or a lifecycle step.
///
/// From the most significant bit: 16 bits for the column, counted from 1; 16 bits for the interface's position in
/// `export!`, or [`STEPS`]; 32 bits for the number of the method or the step. A mark without a column refers to no
/// plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

/// This value instead of an interface's position means a lifecycle step: the number is then that of a [`Step`].
const STEPS: u64 = 0xFFFF;

/// The content of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkContents {
    pub(super) column: u16,
    pub(super) doing: Doing,
}

/// The method or lifecycle step in a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// A call: the interface by its position, the method by its index.
    Call { interface: u16, method: u32 },
    /// A lifecycle step.
    Step(Step),
    /// A step whose number is invalid.
    Unknown,
}

impl Mark {
    /// The mark that names no plugin. A call into a plugin in a child process has this mark, too, because the code of
    /// that plugin cannot crash this process.
    pub(super) const NOBODY: Self = Self(0);

    /// The mark of an interface, to be completed with [`Mark::method`].
    pub(super) fn interface(column: CallColumn, place: usize) -> Self {
        Self::of(column, (place as u64).min(STEPS - 1))
    }

    /// The mark of a method of this interface.
    #[inline(always)]
    pub(super) fn method(self, index: u32) -> Self {
        Self(self.0 | u64::from(index))
    }

    pub(super) fn step(column: CallColumn, step: Step) -> Self {
        Self(Self::of(column, STEPS).0 | step as u64)
    }

    fn of(column: CallColumn, place: u64) -> Self {
        Self((column.number() as u64 + 1) << 48 | place << 32)
    }

    /// The content of the mark; `None` if it has no column.
    pub(super) fn read(self) -> Option<MarkContents> {
        let column = ((self.0 >> 48) as u16).checked_sub(1)?;
        let doing = match ((self.0 >> 32) as u16, self.0 as u32) {
            (place, number) if u64::from(place) == STEPS => {
                Step::ALL.get(number as usize).map_or(Doing::Unknown, |step| Doing::Step(*step))
            }
            (interface, method) => Doing::Call { interface, method },
        };
        Some(MarkContents { column, doing })
    }
}

/// The mark of code that the calling thread runs, for as long as this value exists: a lifecycle step, or a method that
/// the thread runs for another thread.
#[must_use = "the mark ends when this is dropped"]
pub(crate) struct Marked(#[expect(dead_code, reason = "dropping it removes the mark")] Option<Level>);

impl Marked {
    /// Marks the calling thread. If the thread is inside too many calls, or is exiting, it gets no mark, and the code
    /// still runs.
    pub(super) fn new(mark: Mark) -> Self {
        let level = ThreadSlot::mine().and_then(ThreadSlot::enter);
        if let Some(level) = &level {
            level.mark(mark);
        }
        Self(level)
    }

    /// No mark, for a step that runs in another process.
    pub(super) fn nobody() -> Self {
        Self(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_a_mark_returns_what_was_written() {
        let column = CallColumn::numbered(4095);
        let call = Mark::interface(column, 3).method(u32::MAX);
        let doing = Doing::Call { interface: 3, method: u32::MAX };
        assert_eq!(call.read(), Some(MarkContents { column: 4095, doing }));
        for step in Step::ALL {
            let doing = Doing::Step(step);
            assert_eq!(Mark::step(column, step).read(), Some(MarkContents { column: 4095, doing }));
        }
    }

    #[test]
    fn a_mark_without_a_column_has_no_contents() {
        assert_eq!(Mark::NOBODY.read(), None);
        assert_eq!(Mark::NOBODY.method(7).read(), None);
    }
}
