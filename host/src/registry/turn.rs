//! Which of a thread's calls are timed, decided without a write of its own.

use crate::metrics::TIMED_ONE_IN;

/// Below, how many calls a thread is inside; above, a number that each call moves on by the golden ratio of its range, so
/// that one in [`TIMED_ONE_IN`] calls finds it small, in whatever rhythm a thread calls one plugin and another. Both in
/// one word, which a call writes anyway.
#[derive(Clone, Copy)]
pub(super) struct Turn(pub(super) u64);

/// Which of the calls of a generation are timed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timed(u64);

impl Timed {
    /// Each.
    pub(super) const ALL: Self = Self(0);
    /// One in [`TIMED_ONE_IN`].
    pub(super) const SOME: Self = Self((TIMED_ONE_IN - 1) << (u64::BITS - TIMED_ONE_IN.ilog2()));
}

const _: () = assert!(TIMED_ONE_IN.is_power_of_two());

impl Turn {
    const STEP: u64 = 0x9e37_79b9 << 32;
    /// The first call is timed.
    pub(super) const FIRST: Self = Self(0_u64.wrapping_sub(Self::STEP));

    /// How many calls the thread is inside.
    #[inline(always)]
    pub(super) fn depth(self) -> usize {
        self.0 as u32 as usize
    }

    /// After a call has begun.
    #[inline(always)]
    pub(super) fn entered(self) -> Self {
        Self(self.0.wrapping_add(Self::STEP + 1))
    }

    /// After a call has ended.
    #[inline(always)]
    pub(super) fn left(self) -> Self {
        Self(self.0.wrapping_sub(1))
    }

    /// Whether the call that has just begun is timed, if these are.
    #[inline(always)]
    pub(super) fn is_timed(self, Timed(mask): Timed) -> bool {
        self.0 & mask == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of so many calls are timed, if every other one is of another plugin.
    fn timed(calls: u64) -> [u64; 2] {
        let mut turn = Turn::FIRST;
        let mut timed = [0; 2];
        for call in 0..calls {
            turn = turn.entered();
            assert_eq!(turn.depth(), 1);
            timed[(call % 2) as usize] += u64::from(turn.is_timed(Timed::SOME));
            assert!(turn.is_timed(Timed::ALL));
            turn = turn.left();
        }
        timed
    }

    #[test]
    fn the_first_call_is_timed_and_then_one_in_so_many_of_each_plugin_though_they_take_turns() {
        assert_eq!(timed(1), [1, 0]);
        let expected = 100;
        for of_one in timed(2 * expected * TIMED_ONE_IN) {
            assert!(of_one.abs_diff(expected) <= 3, "{of_one}");
        }
    }
}
