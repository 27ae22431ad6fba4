//! The shared code of the benchmarks, which are in `benches/benches/replug/`: it measures and reports.
//!
//! The machines that run the benchmarks are busy, and no single figure is reliable. So the contenders take turns in
//! many short rounds, and the result is the ratio of their medians.

mod measure;
mod report;

pub use measure::{Contender, Rounds, Series, median, quantile, take_turns};
pub use report::{Report, Section, Table, Target};
