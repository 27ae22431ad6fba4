//! How long an end of a lane spins before it sleeps.
//!
//! A thread that sleeps takes several microseconds to wake up. A thread that spins sees a message in less than one. But a
//! spinning thread uses a processor that others need, possibly the thread that is about to send the message. So an end
//! spins only if its process may use more than one processor, only for a short time, and less often without success: after
//! each spin in vain, it sleeps without a spin in the next waits, in twice as many as the last time.

use std::{
    hint::spin_loop,
    num::NonZero,
    thread::available_parallelism,
    time::{Duration, Instant},
};

/// The longest time that an end spins.
pub const LONGEST_SPIN: Duration = Duration::from_micros(20);
/// The most waits without a spin after a spin in vain. A spin in vain costs this part of [`LONGEST_SPIN`] for each wait.
const MOST_SKIPPED: u32 = 64;
/// The looks between two readings of the clock, which takes as long as several looks.
const LOOKS: u32 = 32;

/// Whether the next waits spin.
#[derive(Debug)]
pub(super) struct Spin {
    allowed: bool,
    /// The time of a spin in vain.
    longest: Duration,
    /// The number of waits that do not spin.
    skip: u32,
    /// The value that `skip` had after the last spin in vain.
    skipped: u32,
}

impl Spin {
    /// Spins if this process may use more than one processor.
    pub(super) fn new() -> Self {
        Self { allowed: usable_processors() > 1, longest: LONGEST_SPIN, skip: 0, skipped: 0 }
    }

    /// Never spins.
    #[cfg(test)]
    pub(super) fn never() -> Self {
        Self { allowed: false, ..Self::new() }
    }

    /// Always spins until the message is there.
    #[cfg(test)]
    pub(super) fn always() -> Self {
        Self { allowed: true, longest: Duration::from_secs(3600), ..Self::new() }
    }

    /// Spins until `done`, if that is likely to be soon. Returns whether it is.
    pub(super) fn until(&mut self, done: impl Fn() -> bool) -> bool {
        if !self.allowed {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let mut until = None;
        loop {
            for _ in 0..LOOKS {
                if done() {
                    self.skipped /= 2;
                    return true;
                }
                spin_loop();
            }
            let now = Instant::now();
            if now >= *until.get_or_insert(now + self.longest) {
                self.skipped = (self.skipped * 2).clamp(1, MOST_SKIPPED);
                self.skip = self.skipped;
                return false;
            }
        }
    }
}

/// The number of processors that this process may use: by its affinity mask, and by the quota of its cgroup.
pub fn usable_processors() -> usize {
    available_parallelism().map_or(1, NonZero::get)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn looks(spin: &mut Spin, found: bool) -> u32 {
        let looks = Cell::new(0);
        let look = || {
            looks.set(looks.get() + 1);
            found
        };
        assert!(!spin.until(look) || found);
        looks.get()
    }

    #[test]
    fn spins_in_vain_become_rare_and_a_success_brings_them_back() {
        let mut spin = Spin { allowed: true, ..Spin::new() };
        let spins = (0..1000).filter(|_| looks(&mut spin, false) > 0).count();
        // After 1, 2, 4, .. 64 skipped waits, and then after 64 each time.
        assert_eq!(spins, 21);
        spin.skip = 0;
        while spin.skipped > 0 {
            assert_eq!(looks(&mut spin, true), 1);
        }
        looks(&mut spin, false);
        assert_eq!(spin.skip, 1);
    }

    #[test]
    fn an_end_with_one_processor_never_spins() {
        let mut spin = Spin::never();
        assert_eq!((0..100).map(|_| looks(&mut spin, true)).sum::<u32>(), 0);
    }
}
