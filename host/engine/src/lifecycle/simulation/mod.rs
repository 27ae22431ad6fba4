//! A randomized simulation of the lifecycle: in each of many histories of inputs, it checks the outputs of the
//! lifecycle. A seed determines a history, and time is simulated.
//!
//! A [`World`] simulates the worker and its environment, including the files of the plugin. It carries out the work
//! that the lifecycle requests. Builds and versions fail at random, builds write their own inputs, processes end, and
//! commands and edits arrive at any time. The world computes the expected outputs of the lifecycle independently,
//! and records the first output that violates a rule. `cargo xtask simulate` runs other histories, or repeats one
//! history and prints all its events.

mod world;

use super::StepState;
use std::{
    collections::BTreeSet,
    env,
    num::NonZero,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use world::World;

/// A generator of pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    /// Returns `true` with the probability `part / whole`.
    fn chance(&mut self, part: u64, whole: u64) -> bool {
        self.below(whole) < part
    }

    /// A duration of at most `most`, in whole milliseconds.
    fn up_to(&mut self, most: Duration) -> Duration {
        Duration::from_millis(self.below(u64::try_from(most.as_millis()).unwrap_or(u64::MAX) + 1))
    }
}

/// The transitions that have occurred between states of the service: the state before, the input, the state after.
type Moves = BTreeSet<(&'static str, &'static str, &'static str)>;

/// Simulates one history. The error describes the first violated rule.
fn live(seed: u64, (begin, verbose): (Instant, bool), moves: &mut Moves) -> Result<(), String> {
    let mut world = World::new(seed, begin, verbose);
    for _ in 0..world.length() {
        world.something_happens();
    }
    world.comes_to_rest();
    moves.extend(world.moves());
    world.verdict()
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

#[test]
fn every_history_keeps_the_rules_of_the_lifecycle() {
    let (histories, begin) = (number("REPLUG_HISTORIES").unwrap_or(100_000), Instant::now());
    // Each run simulates the same histories, so that only a change of the code can make the test fail.
    let seed = number("REPLUG_SEED").unwrap_or(0);
    println!("{histories} histories from seed {seed}");
    let (next, end) = (AtomicU64::new(seed), seed + histories);
    let some = || {
        let mut moves = Moves::new();
        while let seed = next.fetch_add(1, Relaxed)
            && seed < end
        {
            if let Err(wrong) = live(seed, (begin, histories == 1), &mut moves) {
                next.store(end, Relaxed);
                return Err((seed, wrong));
            }
        }
        Ok(moves)
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let lived: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        threads.into_iter().map(|thread| thread.join().expect("a history panics")).collect()
    });
    let lived: Result<Vec<Moves>, _> = lived.into_iter().collect();
    match lived {
        Err((seed, wrong)) => {
            panic!("{wrong}\n`cargo xtask simulate --histories 1 --seed {seed}` prints the whole history")
        }
        Ok(moves) if histories >= 10_000 => all_transitions_occur(&moves.into_iter().flatten().collect()),
        Ok(_) => {}
    }
}

#[test]
fn a_reload_is_abandoned_only_inside_a_step_that_has_taken_too_long() {
    let deadline = Duration::from_millis(50);
    for seed in 0..10_000 {
        let (mut dice, mut now, mut steps) = (Dice::new(seed), Instant::now(), StepState::Between);
        // The expected state: the running step with its start, and the step in which the reload was abandoned.
        let (mut runs, mut given_up): (Option<(u64, Instant)>, Option<u64>) = (None, None);
        for step in 0..20 {
            now += dice.up_to(Duration::from_millis(30));
            match dice.below(3) {
                0 if runs.is_none() => {
                    assert_eq!(steps.begins(now, step), given_up.map_or(Ok(()), Err), "seed {seed}");
                    runs = given_up.is_none().then_some((step, now));
                }
                1 => {
                    steps.ends();
                    runs = None;
                }
                _ => {
                    let is_late = runs.filter(|(_, since)| given_up.is_none() && *since + deadline <= now);
                    let left = steps.left(now, deadline);
                    assert_eq!(left == Duration::ZERO, is_late.is_some(), "seed {seed}: {left:?}");
                    assert_eq!(steps.give_up(now, deadline), is_late.map(|(step, _)| step), "seed {seed}");
                    given_up = given_up.or(is_late.map(|(step, _)| step));
                }
            }
            assert_eq!(steps.check(), given_up.map_or(Ok(()), Err), "seed {seed}");
        }
    }
}

/// Checks that the histories contain each transition of the service that the documentation lists.
fn all_transitions_occur(moves: &Moves) {
    let transitions = [
        ("stopped", "Served", "serving"),
        ("serving", "Died", "backoff"),
        ("serving", "Died", "down"),
        ("serving", "Died", "given up"),
        ("serving", "Stop", "stopped"),
        ("serving", "NotInstalled", "given up"),
        ("backoff", "Due", "down"),
        ("backoff", "Served", "serving"),
        ("backoff", "Command", "down"),
        ("down", "Served", "serving"),
        ("down", "TaskEnded", "backoff"),
        ("down", "TaskEnded", "given up"),
        ("down", "Stop", "stopped"),
        ("given up", "Served", "serving"),
        ("given up", "Stop", "stopped"),
    ];
    for transition in transitions {
        assert!(moves.contains(&transition), "no history has the transition {transition:?}: {moves:#?}");
    }
}
