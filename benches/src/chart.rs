//! Charts as data: the benchmarks and the soak write them, and the program in `benches/plot` draws them. The soak
//! writes the JSON without these types; the benchmarks and the program compile this file.

use serde::{Deserialize, Serialize};

/// One chart.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Chart {
    /// The name of its files, without theme and extension.
    pub file: String,
    /// What the chart shows, as one sentence with figures.
    pub title: String,
    /// What was measured, and how.
    pub subject: String,
    /// The label of the axis of the durations or, in [`Plot::Panels`], of the axis of the counts.
    pub axis: String,
    /// The figures.
    pub plot: Plot,
}

/// The form of a chart.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "form", rename_all = "snake_case")]
pub enum Plot {
    /// A point for each duration in nanoseconds, on a logarithmic axis.
    Points {
        /// The rows, from the top.
        points: Vec<Point>,
    },
    /// A line for each contender: nanoseconds against bytes, on logarithmic axes.
    Lines {
        /// The label of the axis of the bytes.
        bytes: String,
        /// The lines.
        lines: Vec<Line>,
    },
    /// Several diagrams above one another. Each shows another value over the same count, such as the number of reloads,
    /// on linear axes.
    Panels {
        /// The diagrams, from the top.
        panels: Vec<Panel>,
    },
    /// A bar for each duration in milliseconds, divided into stages, on a linear axis.
    Stages {
        /// The rows, from the top.
        bars: Vec<Bar>,
    },
}

/// The role of a contender in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// replug itself.
    Ours,
    /// What a user could choose instead.
    Peer,
    /// The same task without a plugin system, for comparison.
    Floor,
}

/// A duration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Point {
    /// The contender.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Nanoseconds.
    pub ns: f64,
}

/// One of several diagrams above one another.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Panel {
    /// What the values are, with their unit.
    pub label: String,
    /// The lines, whose points are counts and values. All panels have a line for each of the same contenders.
    pub lines: Vec<Line>,
}

/// The figures of a contender, as a line.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Line {
    /// The contender.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Bytes and nanoseconds in [`Plot::Lines`], counts and values in a [`Panel`].
    pub points: Vec<(f64, f64)>,
}

/// A duration that consists of stages.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Bar {
    /// The contender.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// The stages in their order: names and milliseconds.
    pub stages: Vec<(String, f64)>,
}
