//! How the benchmarks measure and report. What they measure is in `benches/benches/replug/`.
//!
//! The machines that run this are busy with other things, and no figure of theirs can be trusted by itself. So the
//! things that are compared take turns in many short rounds, and what counts is the ratio of their medians.

mod measure;
mod report;

pub use measure::{Contender, Rounds, Series, median, quantile, take_turns};
pub use report::{Report, Section, Table, Target};
