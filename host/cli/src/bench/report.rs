//! What `replug bench` prints: the table, the JSON, and the advice that follows from the numbers.

use super::{measure::Row, style::scaled};
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
            Self::Child => "child process",
        }
    }
}

/// How a call reaches the plugin.
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
}

/// The function with which a program makes the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// A resolved method, with JSON text.
    Raw,
    /// A resolved method, with JSON values.
    Json,
    /// By name, with JSON values.
    ByName,
}

impl Api {
    pub(super) fn name(self) -> &'static str {
        match self {
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

/// A body in which the plugin did not start.
#[derive(Clone, Debug)]
pub(super) struct LeftOut {
    pub(super) body: Body,
    pub(super) reason: String,
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
            })
        };
        let left_out = |it: &LeftOut| json!({ "place": it.body.name(), "reason": it.reason });
        json!({
            "plugin": self.plugin,
            "method": self.method,
            "arguments": self.arguments,
            "profile": self.profile,
            "seconds": self.seconds,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "left_out": self.left_out.iter().map(left_out).collect::<Vec<_>>(),
            "notes": self.notes(),
            "advice": self.advice(),
        })
    }

    pub(super) fn to_text(&self) -> String {
        let head = ["WHERE", "CALL", "CALLS/S", "P50", "P99", "P99.9"].map(str::to_owned);
        let cell = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), duration);
        let row = |row: &Row| {
            let (rate, p50) = (grouped(row.calls_per_second), duration(row.p50_ns));
            let [label, call] = [row.lane.label(), row.api.short().to_owned()];
            [label, call, rate, p50, cell(row.p99_ns), cell(row.p99_9_ns)]
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
        format!("{title}\n\n{table}\n\n{notes}{}", harmless(&self.advice()))
    }

    /// What a reader has to know about the numbers.
    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let left_out = |it: &LeftOut| format!("{}: not measured: {}", it.body.label(), it.reason);
        notes.extend(self.left_out.iter().map(left_out));
        let batched = self.rows.iter().filter(|row| row.batch > 1).map(|row| row.batch);
        if let Some((least, most)) = batched.clone().min().zip(batched.max()) {
            let count = if least == most { least.to_string() } else { format!("{least} to {most}") };
            notes.push(format!("calls shorter than 2 us are timed in batches of {count}: their percentiles are those of the batches' means"));
        }
        if self.rows.iter().any(|row| row.p99_9_ns.is_none()) {
            notes.push("-: too few calls; raise `--seconds`".into());
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

    /// The duration of a call of a resolved method in process, and by the fastest lane to a child process.
    fn compared(&self) -> (Option<f64>, Option<f64>) {
        let fastest = |body| {
            let rows = self.rows.iter().filter(|row| row.api == Api::Raw && row.lane.body() == body);
            rows.map(|row| row.p50_ns).min_by(f64::total_cmp)
        };
        (fastest(Body::InProcess), fastest(Body::Child))
    }

    /// One sentence about `mode` in the plugin's manifest.
    pub(super) fn advice(&self) -> String {
        let id = &self.plugin;
        let (inside, child) = match self.compared() {
            (Some(inside), Some(child)) => (inside, child),
            (Some(_), None) => return incomparable(id, Body::Child),
            (None, Some(_)) => return incomparable(id, Body::InProcess),
            (None, None) => return format!("{id} was not measured"),
        };
        let added = child - inside;
        let share = added / inside;
        if share <= 0.0 {
            return format!("`mode = \"process\"` costs {id} no measurable time: use it");
        }
        let cost = format!(
            "`mode = \"process\"` costs {id} {} a call, {} of its time in process",
            duration(added),
            percent(share)
        );
        match share {
            ..=0.1 => format!("{cost}: use it"),
            ..=1.0 => format!("{cost}: use it unless you trust the plugin never to crash"),
            _ => format!(
                "`mode = \"process\"` multiplies the time of a call of {id} by {}, from {} to {}: keep it in process if you trust it",
                times(child / inside),
                duration(inside),
                duration(child),
            ),
        }
    }
}

/// The sentence instead of advice if the plugin did not start in this body. The reason may be the measurement itself:
/// two instances of a plugin cannot hold the same port.
fn incomparable(id: &str, missing: Body) -> String {
    format!(
        "the modes cannot be compared, because {id} did not start {}",
        match missing {
            Body::InProcess => "in process",
            Body::Child => "in a child process",
        }
    )
}

/// A duration in nanoseconds as text with three significant digits, such as `850 ns`, `1.15 us` or `37.2 ms`.
pub(super) fn duration(ns: f64) -> String {
    let (value, unit) = scaled(ns);
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    let decimals = match value {
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}

/// A factor, such as `1.4` or `35`.
fn times(factor: f64) -> String {
    if factor < 9.95 { format!("{factor:.1}") } else { format!("{factor:.0}") }
}

fn percent(share: f64) -> String {
    format!("{} %", times(share * 1e2))
}

/// A number without decimals, with a space between groups of three digits.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::bench) fn row(lane: Lane, api: Api, p50_ns: f64) -> Row {
        let (calls, batch) = (12_345, 1);
        let (p99_ns, p99_9_ns) = (Some(p50_ns * 1.5), Some(p50_ns * 8.0));
        Row { lane, api, calls, batch, calls_per_second: 1e9 / p50_ns, p50_ns, p99_ns, p99_9_ns }
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

    fn advice(inside: f64, child: f64) -> String {
        report(vec![
            row(Lane::InProcess, Api::Raw, inside),
            row(Lane::Child(LaneKind::Socket), Api::Raw, child),
        ])
        .advice()
    }

    #[test]
    fn the_advice_follows_from_the_cost_of_a_child_process() {
        assert_eq!(
            advice(275_000.0, 276_100.0),
            "`mode = \"process\"` costs a.b 1.10 us a call, 0.4 % of its time in process: use it"
        );
        assert_eq!(
            advice(40_000.0, 58_000.0),
            "`mode = \"process\"` costs a.b 18.0 us a call, 45 % of its time in process: use it unless you trust the plugin never to crash"
        );
        assert_eq!(
            advice(1_150.0, 37_000.0),
            "`mode = \"process\"` multiplies the time of a call of a.b by 32, from 1.15 us to 37.0 us: keep it in process if you trust it"
        );
        assert_eq!(advice(2e6, 1.99e6), "`mode = \"process\"` costs a.b no measurable time: use it");
    }

    #[test]
    fn the_advice_compares_equal_calls_only() {
        let mut report = report(vec![
            row(Lane::InProcess, Api::ByName, 90_000.0),
            row(Lane::InProcess, Api::Raw, 10_000.0),
            row(Lane::Child(LaneKind::Socket), Api::Raw, 30_000.0),
        ]);
        assert!(report.advice().contains("by 3.0, from 10.0 us to 30.0 us"), "{}", report.advice());
        report.rows.pop();
        assert_eq!(
            report.advice(),
            "the modes cannot be compared, because a.b did not start in a child process"
        );
        report.rows = vec![row(Lane::Child(LaneKind::Socket), Api::Raw, 30_000.0)];
        assert_eq!(report.advice(), "the modes cannot be compared, because a.b did not start in process");
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
        assert_eq!(lines[2..5].iter().map(|line| cells(line)).collect::<Vec<_>>(), [6, 6, 6], "{text}");
        assert!(lines[3].starts_with("in process"), "{text}");
        assert!(lines[3].contains("1 250 000") && lines[3].contains("800 ns   1.20 us  6.40 us"), "{text}");
        assert!(lines[4].starts_with("child process, socket") && lines[4].ends_with(" -"), "{text}");
        assert!(text.contains("in batches of 3:") && text.contains("-: too few calls"), "{text}");
        assert!(lines[2..5].iter().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(*lines.last().unwrap(), report.advice());
    }

    #[test]
    fn the_report_says_what_was_not_measured_and_without_optimization() {
        let mut report = report(vec![row(Lane::InProcess, Api::Raw, 800.0)]);
        report.profile = Some("dev".into());
        report.left_out = vec![LeftOut { body: Body::Child, reason: "no fork".into() }];
        let text = report.to_text();
        assert!(text.contains("child process: not measured: no fork"), "{text}");
        assert!(text.contains("the profile `dev`"), "{text}");
        assert_eq!(report.to_json()["left_out"], json!([{ "place": "process", "reason": "no fork" }]));
    }

    #[test]
    fn numbers_have_three_digits_and_units() {
        let shown = [7.126, 99.96, 999.6, 37_249.0, 1_200_000.0, 2.5e9].map(duration);
        assert_eq!(shown, ["7.13 ns", "100 ns", "1.00 us", "37.2 us", "1.20 ms", "2.50 s"]);
        assert_eq!([7.0, 1_234.4, 812_345.6, 1e6].map(grouped), ["7", "1 234", "812 346", "1 000 000"]);
    }
}
