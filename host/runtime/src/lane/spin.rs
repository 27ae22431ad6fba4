//! How an end of a lane waits for a message: it spins before it sleeps, or it sleeps immediately, or it moves to another
//! processor and spins there.
//!
//! A thread that sleeps takes several microseconds to wake up. A thread that spins sees a message in less than one
//! microsecond. But a spinning thread uses a processor that others need, possibly the thread that is about to send the
//! message. So an end spins only if its process may use more than one processor, and only for a short time. After a
//! spin without success, the end sleeps immediately in the next waits: first in 1 wait, and after each further spin
//! without success in twice as many, up to 64. Each successful spin halves this number.
//!
//! If both ends run on one processor, no spin can succeed. So each end publishes its processor, and sleeps immediately
//! if the other end is on the same one. The kernel may leave both ends there: it wakes a thread on the processor of the
//! thread that causes the wake-up, and each end sleeps before the kernel distributes the load. So if calls follow each
//! other faster than a spin lasts, the shim's end moves to another processor, and spins there. The host's end never
//! moves, because its thread belongs to the embedding program. A move is useless if the other processors are busy, or
//! if the kernel brings the ends together again. So after each useless move, the shim's end waits for twice as many
//! such calls before the next move.
//!
//! An end whose spins all succeed never sleeps. `spin_turn.rs` decides when it yields its processor to other threads.

use super::spin_turn::SpinTurn;
use std::{hint::spin_loop, num::NonZero, thread::available_parallelism, time::Duration, time::Instant};

/// The longest time that an end spins.
pub const LONGEST_SPIN: Duration = Duration::from_micros(20);
/// The maximum number of waits that skip the spin. So if no spin ever succeeds, spinning costs only 1/64 of
/// [`LONGEST_SPIN`] for each wait.
const MOST_SKIPPED: u32 = 64;
/// How often a spin looks for the message between two readings of the clock. Reading the clock takes as long as several
/// looks.
const LOOKS: u32 = 32;
/// The number of short sleeps in a row before the first move.
const LEAST_PATIENCE: u32 = 16;
/// The maximum of the number of short sleeps in a row before a move. So many sleeps take some 300 ms, and a move costs
/// less than a hundredth of that.
const MOST_PATIENCE: u32 = 1 << 16;
/// A move is useful if at least this many spins succeed before the next move. A successful spin saves some
/// microseconds, and a move costs some 50.
const USEFUL: u32 = 256;

/// Where the other end runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerPlace {
    /// On the processor of this end, so it cannot run while this end does.
    Here,
    /// Perhaps on another processor.
    Elsewhere,
}

/// How an end waits for the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    Sleep,
    Spin,
    /// Move to another processor. If that succeeds, spin.
    Move,
}

/// Decides how an end waits.
#[derive(Debug)]
pub(super) struct Spin {
    allowed: bool,
    /// Whether this end may move to another processor.
    moves: bool,
    /// The time after which a spin ends without success.
    longest: Duration,
    /// The number of next waits that skip the spin.
    skip: u32,
    /// How many waits skip the spin after a spin without success. Each such spin doubles this number, and each
    /// successful spin halves it.
    skipped: u32,
    /// The number of sleeps in a row that were shorter than a spin, while the other end was on the same processor.
    short: u32,
    /// The value of `short` at which this end moves.
    patience: u32,
    /// The number of successful spins since the last move.
    found: u32,
    /// When this end yields its processor.
    pub(super) turn: SpinTurn,
    /// Whether this end spins in every wait.
    #[cfg(test)]
    always: bool,
}

impl Spin {
    /// Spins if this process may use more than one processor, and never moves.
    pub(super) fn of_host() -> Self {
        Self {
            allowed: usable_processors() > 1,
            moves: false,
            longest: LONGEST_SPIN,
            skip: 0,
            skipped: 0,
            short: 0,
            patience: LEAST_PATIENCE,
            found: 0,
            turn: SpinTurn::new(),
            #[cfg(test)]
            always: false,
        }
    }

    /// Spins and moves if this process may use more than one processor.
    pub(super) fn of_shim() -> Self {
        Self { moves: true, ..Self::of_host() }
    }

    /// Never spins.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self { allowed: false, ..Self::of_host() }
    }

    /// Spins until the message is there.
    #[cfg(test)]
    pub(super) fn always() -> Self {
        Self { always: true, longest: Duration::from_secs(3600), ..Self::of_host() }
    }

    /// Moves in the next wait in which the other end is on the same processor.
    #[cfg(test)]
    pub(super) fn about_to_move() -> Self {
        Self { allowed: true, short: LEAST_PATIENCE, ..Self::of_shim() }
    }

    /// How to wait for the next message.
    pub(super) fn next_wait(&mut self, peer: PeerPlace) -> Waiting {
        #[cfg(test)]
        if self.always {
            return Waiting::Spin;
        }
        if !self.allowed {
            return Waiting::Sleep;
        }
        match peer {
            PeerPlace::Here if self.short >= self.patience => Waiting::Move,
            PeerPlace::Here => Waiting::Sleep,
            PeerPlace::Elsewhere if self.skip > 0 => {
                self.skip -= 1;
                Waiting::Sleep
            }
            PeerPlace::Elsewhere => Waiting::Spin,
        }
    }

    /// Whether the length of this end's sleeps matters if the other end is at this place.
    pub(super) fn measures(&self, peer: PeerPlace) -> bool {
        self.allowed && self.moves && peer == PeerPlace::Here
    }

    /// Notes the length of a sleep that matters.
    pub(super) fn has_slept(&mut self, length: Duration) {
        self.short = if length < self.longest { self.short.saturating_add(1) } else { 0 };
    }

    /// Notes a move, or that this end cannot move.
    pub(super) fn has_moved(&mut self, succeeded: bool) {
        self.patience = match succeeded {
            true if self.found >= USEFUL => LEAST_PATIENCE,
            true => (self.patience * 2).min(MOST_PATIENCE),
            // Later, this thread may be allowed to use other processors.
            false => MOST_PATIENCE,
        };
        (self.short, self.found, self.skip) = (0, 0, 0);
    }

    /// Notes a spin, and whether it found the message.
    fn has_spun(&mut self, found: bool) {
        if found {
            self.skipped /= 2;
            self.found = self.found.saturating_add(1);
        } else {
            self.skipped = (self.skipped * 2).clamp(1, MOST_SKIPPED);
            self.skip = self.skipped;
        }
    }

    /// Spins until `done` returns true, but no longer than [`LONGEST_SPIN`].
    pub(super) fn until(&mut self, done: impl Fn() -> bool) {
        let look = || {
            let done = done();
            if !done {
                spin_loop();
            }
            done
        };
        let mut until = None;
        let found = loop {
            self.turn.round();
            if (0..LOOKS).any(|_| look()) {
                break true;
            }
            let now = Instant::now();
            if now >= *until.get_or_insert(now + self.longest) {
                break false;
            }
        };
        self.has_spun(found);
    }
}

/// The number of processors that this process may use: by its affinity mask, and by the quota of its cgroup.
pub fn usable_processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use PeerPlace::{Elsewhere, Here};

    const SHORT: Duration = Duration::from_micros(5);

    fn shim() -> Spin {
        Spin { allowed: true, ..Spin::of_shim() }
    }

    /// Makes calls that follow each other quickly while both ends are on one processor, until the end moves. Returns
    /// the number of calls.
    fn calls_before_a_move(spin: &mut Spin) -> u32 {
        let mut calls = 0;
        while spin.next_wait(Here) == Waiting::Sleep {
            assert!(spin.measures(Here));
            spin.has_slept(SHORT);
            calls += 1;
        }
        calls
    }

    #[test]
    fn spins_without_success_become_rare_until_spins_succeed() {
        let mut spin = Spin { allowed: true, ..Spin::of_host() };
        let waits = |spin: &mut Spin, found| {
            let spins = spin.next_wait(Elsewhere) == Waiting::Spin;
            if spins {
                spin.has_spun(found);
            }
            spins
        };
        let spins = (0..1000).filter(|_| waits(&mut spin, false)).count();
        // The spins follow 0, 1, 2, 4, .. 64 skipped waits, and then 64 each time.
        assert_eq!(spins, 21);
        spin.skip = 0;
        while spin.skipped > 0 {
            assert!(waits(&mut spin, true));
        }
        waits(&mut spin, false);
        assert_eq!(spin.skip, 1);
    }

    #[test]
    fn a_spin_ends_with_the_message_or_after_its_longest_time() {
        let mut spin = Spin::always();
        spin.until(|| true);
        assert_eq!((spin.found, spin.skip), (1, 0));
        spin.longest = Duration::ZERO;
        spin.until(|| false);
        assert_eq!((spin.found, spin.skip), (1, 1));
    }

    #[test]
    fn an_end_with_one_processor_neither_spins_nor_moves() {
        let mut spin = Spin { allowed: false, ..Spin::of_shim() };
        for peer in [Here, Elsewhere] {
            for _ in 0..MOST_PATIENCE * 2 {
                assert_eq!(spin.next_wait(peer), Waiting::Sleep);
                assert!(!spin.measures(peer));
            }
        }
    }

    #[test]
    fn an_end_on_the_processor_of_the_other_end_does_not_spin() {
        for mut spin in [Spin { allowed: true, ..Spin::of_host() }, shim()] {
            assert_eq!(spin.next_wait(Here), Waiting::Sleep);
            assert_eq!(spin.next_wait(Elsewhere), Waiting::Spin);
        }
    }

    #[test]
    fn only_the_shim_moves_and_only_for_quick_calls() {
        assert!(!Spin { allowed: true, ..Spin::of_host() }.measures(Here));
        let mut spin = shim();
        assert!(!spin.measures(Elsewhere));
        for _ in 0..MOST_PATIENCE {
            // Never enough short sleeps in a row.
            for length in [SHORT; LEAST_PATIENCE as usize - 1].into_iter().chain([LONGEST_SPIN]) {
                assert_eq!(spin.next_wait(Here), Waiting::Sleep);
                spin.has_slept(length);
            }
        }
        assert_eq!(calls_before_a_move(&mut spin), LEAST_PATIENCE);
    }

    #[test]
    fn useless_moves_become_rare_and_a_useful_one_brings_them_back() {
        let mut spin = shim();
        let mut calls = LEAST_PATIENCE;
        for _ in 0..20 {
            assert_eq!(calls_before_a_move(&mut spin), calls);
            spin.has_moved(true);
            calls = (calls * 2).min(MOST_PATIENCE);
            (1..USEFUL).for_each(|_| spin.has_spun(true));
        }
        assert_eq!(calls, MOST_PATIENCE);
        spin.has_spun(true);
        calls_before_a_move(&mut spin);
        spin.has_moved(true);
        assert_eq!(calls_before_a_move(&mut spin), LEAST_PATIENCE);
    }

    #[test]
    fn an_end_that_cannot_move_tries_again_only_after_many_calls() {
        let mut spin = shim();
        calls_before_a_move(&mut spin);
        spin.has_moved(false);
        assert_eq!(calls_before_a_move(&mut spin), MOST_PATIENCE);
    }

    #[test]
    fn an_end_spins_after_a_move_whatever_it_found_before() {
        let mut spin = shim();
        for _ in 0..100 {
            if spin.next_wait(Elsewhere) == Waiting::Spin {
                spin.has_spun(false);
            }
        }
        calls_before_a_move(&mut spin);
        spin.has_moved(true);
        assert_eq!(spin.next_wait(Elsewhere), Waiting::Spin);
    }
}
