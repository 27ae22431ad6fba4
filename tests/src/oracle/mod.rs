//! The build oracle: for each shape of a project and each kind of change, what the loop (watcher, builder) has built when it
//! has settled equals what a clean `cargo build` makes of the same files.
//!
//! Every crate here is tiny and needs nothing. A library says what it was made from: each text between two `@@` in it comes
//! from one file. The loop is the worker's, but for the loading: it builds as long as the watcher reports a change.

mod changes;
mod shapes;
mod tree;

pub use changes::{CHANGES, Change};
pub use shapes::{LEFT_OUT, SHAPES, Shape};

use std::{
    fmt,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};
use tree::Tree;

/// How much is looked at after each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the loop has built.
    Loop,
    /// That, and what a host builds that is started then.
    Restart,
}

/// One shape after one change.
#[derive(Debug)]
pub struct Pair {
    /// The shape's name.
    pub shape: &'static str,
    /// The change's name.
    pub change: &'static str,
    /// What was found.
    pub outcome: Outcome,
}

/// What was found.
#[derive(Debug)]
pub enum Outcome {
    /// The loop has built what a clean build makes.
    Right {
        /// How many builds it took to settle.
        builds: usize,
    },
    /// It has not.
    Wrong(String),
    /// The change makes no sense for the shape.
    Senseless(&'static str),
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18} {:<16} ", self.shape, self.change)?;
        match &self.outcome {
            Outcome::Right { builds } => write!(f, "right after {builds} builds"),
            Outcome::Wrong(why) => write!(f, "WRONG: {why}"),
            Outcome::Senseless(why) => write!(f, "makes no sense: {why}"),
        }
    }
}

/// Tries all pairs of which both names contain what is asked for, two shapes at a time, and tells of each at once.
///
/// # Panics
///
/// If a tree cannot be made.
pub fn run(asked: (&str, &str), depth: Depth, told: impl Fn(&Pair) + Sync) -> Vec<Pair> {
    let shapes: Vec<_> = SHAPES.iter().filter(|shape| shape.name.contains(asked.0)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut pairs = Vec::new();
        while let Some(shape) = shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
            pairs.extend(all_changes(shape, asked.1, depth, &told));
        }
        pairs
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().expect("a tree cannot be made")).collect()
    })
}

/// All changes of one shape, one after the other: what one leaves behind is where the next one begins.
fn all_changes(shape: &'static Shape, asked: &str, depth: Depth, told: &impl Fn(&Pair)) -> Vec<Pair> {
    let mut tree = Tree::new(shape);
    let first =
        Pair { shape: shape.name, change: "first build", outcome: tree.outcome(1 + shape.own_builds, depth) };
    told(&first);
    let mut pairs = vec![first];
    for change in CHANGES.iter().filter(|change| change.name.contains(asked)) {
        let outcome = match change.senseless(shape) {
            Some(why) => Outcome::Senseless(why),
            None => {
                change.make(&mut tree);
                tree.outcome(change.most_builds + shape.own_builds, depth)
            }
        };
        let pair = Pair { shape: shape.name, change: change.name, outcome };
        told(&pair);
        pairs.push(pair);
    }
    pairs
}
