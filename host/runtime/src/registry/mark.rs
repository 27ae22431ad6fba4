//! Marks: what a thread says it is about to run, in one word that a single store can write.

use super::thread_slot::{CallColumn, Level, ThreadSlot};
use replug_model::step::Step;

/// Where a thread is: in which generation, and in which method or step of its life.
///
/// From the top: 16 bits of column, counted from 1; 16 bits of the interface's place in `export!`, or [`STEPS`]; 32 bits
/// of the method's or the step's number. Without a column it blames no one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(pub(super) u64);

/// In place of an interface's: the number is a [`Step`]'s.
const STEPS: u64 = 0xFFFF;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarkContents {
    pub(super) column: u16,
    pub(super) doing: Doing,
}

/// See [`MarkContents`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// A call: the interface by its place, the method by its index.
    Call { interface: u16, method: u32 },
    /// A step of the plugin's life.
    Step(Step),
    /// What no version of this program has written.
    Unknown,
}

impl Mark {
    /// Of what is not to be blamed: a plugin in another process, or nothing at all.
    pub(super) const NOBODY: Self = Self(0);

    /// Of an interface, to be completed with [`Mark::method`].
    pub(super) fn interface(column: CallColumn, place: usize) -> Self {
        Self::of(column, (place as u64).min(STEPS - 1))
    }

    /// Of a method of this interface.
    #[inline(always)]
    pub(super) fn method(self, index: u32) -> Self {
        Self(self.0 | u64::from(index))
    }

    fn step(column: CallColumn, step: Step) -> Self {
        Self(Self::of(column, STEPS).0 | step as u64)
    }

    fn of(column: CallColumn, place: u64) -> Self {
        Self((column.number() as u64 + 1) << 48 | place << 32)
    }

    /// What it says; nothing if it blames no one.
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

/// While it lives, the calling thread is marked as running a step of a plugin's life.
#[must_use = "the mark goes with it"]
pub struct Marked(#[expect(dead_code, reason = "its drop takes the mark away")] Option<Level>);

impl Marked {
    /// A thread that is inside too many calls, or about to end, goes unmarked: the step matters more than the mark.
    pub(super) fn new(column: CallColumn, step: Step) -> Self {
        let level = ThreadSlot::mine().and_then(ThreadSlot::enter);
        if let Some(level) = &level {
            level.mark(Mark::step(column, step));
        }
        Self(level)
    }

    /// For a step that another process takes.
    pub(super) fn nobody() -> Self {
        Self(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_what_it_was_made_of() {
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
    fn a_mark_without_a_lane_blames_no_one() {
        assert_eq!(Mark::NOBODY.read(), None);
        assert_eq!(Mark::NOBODY.method(7).read(), None);
    }
}
