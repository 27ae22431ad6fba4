//! What `replug bench` prints: the table, the JSON, and the advice that follows from the numbers.

use super::{
    advice::advice,
    measure::Row,
    numbers::{count, duration, grouped},
};
use crate::{
    table::{aligned, line_width},
    terminal::{DIM, NAME, escaped, harmless},
};
use anstyle::Style;
use replug_model::limits::LaneKind;
use serde_json::{Value, json};

/// What the plugin runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    InProcess,
    Child,
}

impl Body {
    /// The value of `mode` in a manifest.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::Child => "process",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::InProcess => "in process",
            Self::Child => "child",
        }
    }
}

/// The way in which a call reaches the plugin: in process, or over a lane to a child process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    InProcess,
    Child(LaneKind),
}

impl Lane {
    pub(super) fn body(self) -> Body {
        match self {
            Self::InProcess => Body::InProcess,
            Self::Child(_) => Body::Child,
        }
    }

    /// The name of the lane between two processes.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::InProcess => None,
            Self::Child(kind) => Some(kind.name()),
        }
    }

    pub(super) fn label(self) -> String {
        let body = self.body().label();
        self.name().map_or_else(|| body.to_owned(), |lane| format!("{body}, {lane}"))
    }

    /// The name of the folder for measurements over this lane.
    pub(super) fn folder(self) -> &'static str {
        self.name().unwrap_or(self.body().name())
    }
}

/// The function with which a program makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// A method that was looked up once, before the measurement; with types.
    Typed,
    /// The same, with JSON text.
    Raw,
    /// The same, with JSON values.
    Json,
    /// By name, with JSON values.
    ByName,
}

impl Api {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Typed => "Method::typed",
            Self::Raw => "Method::call_raw",
            Self::Json => "Method::call_json",
            Self::ByName => "DynHandle::invoke_json",
        }
    }

    /// The name without its type.
    fn short(self) -> &'static str {
        self.name().rsplit("::").next().unwrap_or_default()
    }
}

/// Rows that were not measured.
#[derive(Clone, Debug)]
pub(super) struct LeftOut {
    pub(super) what: Missing,
    pub(super) reason: String,
}

/// What was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The plugin did not start in this body.
    Body(Body),
    /// The host could not use this lane.
    Lane(LaneKind),
    /// The method cannot be called in this way.
    Api(Api),
    /// Allocations.
    Allocations,
}

impl Missing {
    fn label(self) -> String {
        match self {
            Self::Body(body) => body.label().to_owned(),
            Self::Lane(lane) => Lane::Child(lane).label(),
            Self::Api(api) => api.name().to_owned(),
            Self::Allocations => "allocations".to_owned(),
        }
    }

    fn to_json(self) -> Value {
        match self {
            Self::Body(body) => json!({ "place": body.name() }),
            Self::Lane(lane) => json!({ "place": Body::Child.name(), "lane": lane.name() }),
            Self::Api(api) => json!({ "call": api.name() }),
            Self::Allocations => json!({ "figure": "allocations_per_call" }),
        }
    }
}

/// The result of a measurement.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) plugin: String,
    pub(super) method: String,
    pub(super) arguments: Value,
    /// The cargo profile of the plugin, if cargo builds it.
    pub(super) profile: Option<String>,
    pub(super) seconds: u32,
    pub(super) rows: Vec<Row>,
    pub(super) left_out: Vec<LeftOut>,
}

impl Report {
    pub(super) fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "place": row.lane.body().name(),
                "lane": row.lane.name(),
                "call": row.api.name(),
                "calls": row.calls,
                "calls_per_second": row.calls_per_second,
                "batch": row.batch,
                "p50_ns": row.p50_ns,
                "p99_ns": row.p99_ns,
                "p99_9_ns": row.p99_9_ns,
                "allocations_per_call": row.allocations,
            })
        };
        let left_out = |it: &LeftOut| {
            let mut left_out = it.what.to_json();
            left_out["reason"] = it.reason.clone().into();
            left_out
        };
        json!({
            "plugin": self.plugin,
            "method": self.method,
            "arguments": self.arguments,
            "profile": self.profile,
            "seconds": self.seconds,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "left_out": self.left_out.iter().map(left_out).collect::<Vec<_>>(),
            "notes": self.notes(),
            "advice": advice(self),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let head = ["WHERE", "CALL", "CALLS/S", "P50", "P99", "P99.9", "ALLOCS"].map(str::to_owned);
        let cell = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), duration);
        let row = |row: &Row| {
            let (rate, p50) = (grouped(row.calls_per_second), duration(row.p50_ns));
            let [label, call] = [row.lane.label(), row.api.short().to_owned()];
            let allocations = row.allocations.map_or_else(|| "-".to_owned(), count);
            [label, call, rate, p50, cell(row.p99_ns), cell(row.p99_9_ns), allocations]
        };
        let rows = [head].into_iter().chain(self.rows.iter().map(row)).collect();
        let table = aligned(rows, line_width(), &[(1, 12), (0, 10)], |_, _| Style::new());
        let arguments = match &self.arguments {
            Value::Null => String::new(),
            arguments => format!(" {}", escaped(&arguments.to_string())),
        };
        let title = format!("{NAME}{}{NAME:#} {}{arguments}", harmless(&self.plugin), harmless(&self.method));
        let notes: String =
            self.notes().iter().map(|note| format!("{DIM}{}{DIM:#}\n", harmless(note))).collect();
        format!("{title}\n\n{table}\n\n{notes}{}", harmless(&advice(self)))
    }

    /// The lines below the table: what was not measured, and how to read the numbers.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let left_out = |it: &LeftOut| format!("{}: not measured: {}", it.what.label(), it.reason);
        notes.extend(self.left_out.iter().map(left_out));
        let batched = self.rows.iter().filter(|row| row.batch > 1).map(|row| row.batch);
        if let Some((least, most)) = batched.clone().min().zip(batched.max()) {
            let count = if least == most { least.to_string() } else { format!("{least} to {most}") };
            notes.push(format!("calls shorter than 2 us are timed in batches of {count}: their percentiles are those of the batches' means"));
        }
        if self.rows.iter().any(|row| row.p99_9_ns.is_none()) {
            notes.push("-: too few calls; raise `--seconds`".into());
        }
        if self.rows.iter().any(|row| row.allocations.is_some() && row.lane.body() == Body::Child) {
            notes.push("allocations of a call into a child process are only those of the caller".into());
        }
        if self.profile.as_deref() == Some("dev") {
            notes.push("the plugin is built with the profile `dev`, without optimization: set `profile = \"release\"` in [build] of its manifest to measure optimized code".into());
        }
        if cfg!(debug_assertions) {
            notes.push(
                "this `replug` is a debug build: its own part of a call takes longer than in a release build"
                    .into(),
            );
        }
        notes
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn row(lane: Lane, api: Api, p50_ns: f64) -> Row {
        let (calls, batch) = (12_345, 1);
        let (p99_ns, p99_9_ns) = (Some(p50_ns * 1.5), Some(p50_ns * 8.0));
        let (calls_per_second, allocations) = (1e9 / p50_ns, Some(2.0));
        Row { lane, api, calls, batch, calls_per_second, p50_ns, p99_ns, p99_9_ns, allocations }
    }

    pub(in crate::bench) fn report(rows: Vec<Row>) -> Report {
        Report {
            plugin: "a.b".into(),
            method: "add".into(),
            arguments: json!([1, 2]),
            profile: Some("release".into()),
            seconds: 3,
            rows,
            left_out: Vec::new(),
        }
    }

    #[test]
    fn the_table_has_a_row_for_each_way_and_ends_with_the_advice() {
        let mut few = row(Lane::Child(LaneKind::Socket), Api::Raw, 40_000.0);
        few.p99_9_ns = None;
        let mut report = report(vec![row(Lane::InProcess, Api::Raw, 800.0), few]);
        report.rows[0].batch = 3;
        let text = anstream::adapter::strip_str(&report.to_text()).to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "a.b add [1,2]");
        let cells = |line: &str| line.split("  ").filter(|cell| !cell.is_empty()).count();
        assert_eq!(lines[2..5].iter().map(|line| cells(line)).collect::<Vec<_>>(), [7, 7, 7], "{text}");
        assert!(lines[3].starts_with("in process"), "{text}");
        assert!(lines[3].contains("1 250 000") && lines[3].contains("800 ns   1.20 us  6.40 us"), "{text}");
        assert!(lines[4].starts_with("child, socket") && lines[4].contains("  -  "), "{text}");
        assert!(text.contains("in batches of 3:") && text.contains("-: too few calls"), "{text}");
        assert!(lines[2..5].iter().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(*lines.last().unwrap(), advice(&report));
    }

    #[test]
    fn the_report_names_what_was_not_measured_or_not_optimized() {
        let mut report = report(vec![row(Lane::InProcess, Api::Raw, 800.0)]);
        report.profile = Some("dev".into());
        let left_out = |what, reason: &str| LeftOut { what, reason: reason.into() };
        report.left_out = vec![
            left_out(Missing::Body(Body::Child), "no fork"),
            left_out(Missing::Lane(LaneKind::SharedMemory), "no memory"),
            left_out(Missing::Api(Api::Typed), "no types"),
        ];
        let text = report.to_text();
        assert!(text.contains("child: not measured: no fork"), "{text}");
        assert!(text.contains("child, shared-memory: not measured: no memory"), "{text}");
        assert!(text.contains("the profile `dev`"), "{text}");
        assert_eq!(
            report.to_json()["left_out"],
            json!([
                { "place": "process", "reason": "no fork" },
                { "place": "process", "lane": "shared-memory", "reason": "no memory" },
                { "call": "Method::typed", "reason": "no types" },
            ])
        );
    }
}
