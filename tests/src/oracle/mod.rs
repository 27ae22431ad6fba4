//! The build oracle. It makes each kind of change to a project of each *shape*, such as one with a build script, and
//! waits until the loop of watcher and builder has settled. The result must then be the same as that of a clean build
//! of the same files.
//!
//! The crates are small and need no registry. Each file that a build reads contributes a text to the library, between
//! two `@@`. So the texts in a library show which contents of the files it was built from. The loop works like the
//! engine's worker, but loads nothing: it builds as long as the watcher reports a change.

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

/// What is checked after each change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// The result of the loop.
    Loop,
    /// The result of the loop, and then the result of a new builder, as after a restart of the host.
    Restart,
}

/// The check of one shape after one change.
#[derive(Debug)]
pub struct Pair {
    /// The shape's name.
    pub shape: &'static str,
    /// The change's name.
    pub change: &'static str,
    /// The result of the check.
    pub outcome: Outcome,
}

/// The result of the check.
#[derive(Debug)]
pub enum Outcome {
    /// The loop's build equals a clean build.
    Right {
        /// How many builds the loop took to settle.
        builds: usize,
    },
    /// The loop's build differs from a clean build.
    Wrong(String),
    /// The change does not apply to the shape.
    Senseless(&'static str),
}

impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<18} {:<16} ", self.shape, self.change)?;
        match &self.outcome {
            Outcome::Right { builds } => write!(f, "right after {builds} builds"),
            Outcome::Wrong(why) => write!(f, "WRONG: {why}"),
            Outcome::Senseless(why) => write!(f, "not applicable: {why}"),
        }
    }
}

/// Checks each pair of a shape and a change. The shape's name must contain the first text, and the change's name the
/// second. Works on two shapes at a time, and reports each pair as soon as it is checked.
///
/// # Panics
///
/// If a tree cannot be created.
pub fn run(asked: (&str, &str), depth: Depth, report: impl Fn(&Pair) + Sync) -> Vec<Pair> {
    let shapes: Vec<_> = SHAPES.iter().filter(|shape| shape.name.contains(asked.0)).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut pairs = Vec::new();
        while let Some(shape) = shapes.get(next.fetch_add(1, Ordering::Relaxed)) {
            pairs.extend(all_changes(shape, asked.1, depth, &report));
        }
        pairs
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().expect("a tree cannot be created")).collect()
    })
}

/// Makes all changes to one shape in sequence, in the same tree.
fn all_changes(shape: &'static Shape, asked: &str, depth: Depth, report: &impl Fn(&Pair)) -> Vec<Pair> {
    let mut tree = Tree::new(shape);
    let first =
        Pair { shape: shape.name, change: "first build", outcome: tree.outcome(1 + shape.own_builds, depth) };
    report(&first);
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
        report(&pair);
        pairs.push(pair);
    }
    pairs
}
