//! The shared code of the benchmarks, which are in `benches/benches/replug/`: it measures and reports.
//!
//! The machines that run the benchmarks are busy, and no single figure is reliable. So the contenders take turns in
//! many short rounds, and the result is the ratio of their medians.

mod chart;
mod machine;
mod measure;
mod report;

pub use chart::{Bar, Chart, Line, Panel, Plot, Point, Role};
pub use machine::{locked, machine};
pub use measure::{
    Contender, Distribution, Rounds, Sampler, Series, median, quantile, sample_turns, take_turns,
};
pub use report::{Report, Section, Table, Target};
