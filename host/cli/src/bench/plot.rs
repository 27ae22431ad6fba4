//! The chart of `replug bench --plot`: an SVG image with the percentiles of each row.

use super::{
    measure::Row,
    report::{Report, duration},
};
use crate::table::wrapped;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
/// The left and the right end of the axis.
const AXIS: (f64, f64) = (250.0, 820.0);
const TITLE_LINE: f64 = 22.0;
const ROW: f64 = 46.0;

/// Both themes: a reader's browser selects one.
const STYLE: &str = "\
text { font: 13px system-ui, sans-serif; fill: #1f2328 }
.title { font-size: 16px; font-weight: 600 }
.dim { fill: #59636e }
.back { fill: #ffffff }
.grid { stroke: #d1d9e0 }
.range { stroke: #8c959f; stroke-width: 2 }
.p50 { fill: #0969da }
.p99 { fill: #bc4c00 }
.p99-9 { fill: #a40e26 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.dim { fill: #9198a1 }
.back { fill: #0d1117 }
.grid { stroke: #3d444d }
.range { stroke: #656c76 }
.p50 { fill: #4493f8 }
.p99 { fill: #db6d28 }
.p99-9 { fill: #f85149 }
}";

/// A logarithmic axis over whole decades, in nanoseconds.
struct Axis {
    /// The exponents of the first and the last power of ten.
    decades: (i32, i32),
}

impl Axis {
    /// The smallest axis with all these values.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let (least, most) = values
            .fold((f64::MAX, 1.0_f64), |(least, most), value| (least.min(value.max(1.0)), most.max(value)));
        let first = exponent(least.min(most).log10().floor());
        let last = exponent(most.log10().ceil()).max(first + 1);
        Self { decades: (first, last) }
    }

    fn x(&self, ns: f64) -> f64 {
        let (first, last) = (f64::from(self.decades.0), f64::from(self.decades.1));
        let share = (ns.max(1.0).log10() - first) / (last - first);
        AXIS.0 + share * (AXIS.1 - AXIS.0)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the logarithm of a duration is small")]
fn exponent(log: f64) -> i32 {
    log as i32
}

/// The chart. Its title is the advice.
pub(super) fn svg(report: &Report) -> String {
    let axis = Axis::of(report.rows.iter().flat_map(|row| marks(row).map(|(_, ns)| ns)));
    let title = wrapped(&report.advice().replace('`', ""), 84);
    let top = (0..title.len()).fold(38.0, |y, _| y + TITLE_LINE) + 30.0;
    let bottom = report.rows.iter().fold(top, |y, _| y + ROW);
    let height = bottom + 62.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n<style>\n{STYLE}\n</style>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n"
    );
    let mut y = 32.0;
    for line in &title {
        text(&mut out, (20.0, y), "title", "start", line);
        y += TITLE_LINE;
    }
    let subject = format!("{} of {}, one thread, {} s", report.method, report.plugin, report.seconds);
    text(&mut out, (20.0, y), "dim", "start", &subject);
    let mut x = 600.0;
    for (class, label) in [("p50", "p50"), ("p99", "p99"), ("p99-9", "p99.9")] {
        dot(&mut out, (x, y - 4.0), class, label);
        text(&mut out, (x + 11.0, y), "dim", "start", label);
        x += 75.0;
    }
    for decade in axis.decades.0..=axis.decades.1 {
        let ns = 10_f64.powi(decade);
        let x = axis.x(ns);
        line(&mut out, "grid", (x, top), (x, bottom));
        text(&mut out, (x, bottom + 20.0), "dim", "middle", &tick(ns));
    }
    let middle = f64::midpoint(AXIS.0, AXIS.1);
    text(&mut out, (middle, bottom + 46.0), "dim", "middle", "time of a call (logarithmic)");
    let mut y = top + ROW / 2.0;
    for row in &report.rows {
        text(&mut out, (20.0, y - 3.0), "label", "start", &row.lane.label());
        text(&mut out, (20.0, y + 14.0), "dim", "start", row.api.name());
        let last = marks(row).last().map_or(row.p50_ns, |(_, ns)| ns);
        line(&mut out, "range", (axis.x(row.p50_ns), y), (axis.x(last), y));
        for (class, ns) in marks(row) {
            dot(&mut out, (axis.x(ns), y), class, &format!("{class}: {}", duration(ns)));
        }
        text(&mut out, (axis.x(row.p50_ns), y - 10.0), "value", "middle", &duration(row.p50_ns));
        y += ROW;
    }
    out.push_str("</svg>\n");
    out
}

/// The percentiles of a row, with their classes.
fn marks(row: &Row) -> impl Iterator<Item = (&'static str, f64)> {
    let percentiles = [("p50", Some(row.p50_ns)), ("p99", row.p99_ns), ("p99-9", row.p99_9_ns)];
    percentiles.into_iter().filter_map(|(class, ns)| Some((class, ns?)))
}

/// The label of a power of ten, such as `10 us`.
fn tick(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns if ns < 1e9 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    format!("{value:.0} {unit}")
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, anchor: &str, text: &str) {
    let text = escaped(text);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
    );
}

fn line(out: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

fn dot(out: &mut String, (x, y): (f64, f64), class: &str, title: &str) {
    let title = escaped(title);
    let _ = writeln!(
        out,
        "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"><title>{title}</title></circle>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{
        super::report::{
            Api, Lane,
            tests::{report, row},
        },
        *,
    };
    use replug_model::limits::LaneKind;

    #[test]
    fn the_axis_covers_all_values_in_whole_decades() {
        for (values, decades) in
            [(&[850.0, 37_000.0][..], (2, 5)), (&[1_000.0], (3, 4)), (&[0.2], (0, 1)), (&[], (0, 1))]
        {
            let axis = Axis::of(values.iter().copied());
            assert_eq!(axis.decades, decades, "{values:?}");
            assert!(values.iter().all(|ns| (AXIS.0..=AXIS.1).contains(&axis.x(*ns))), "{values:?}");
        }
    }

    #[test]
    fn the_chart_has_every_percentile_and_the_advice_as_its_title() {
        let mut few = row(Lane::Child(LaneKind::Socket), Api::Raw, 40_000.0);
        few.p99_9_ns = None;
        let mut report = report(vec![row(Lane::InProcess, Api::Raw, 800.0), few]);
        report.method = "a<b".into();
        let svg = svg(&report);
        assert!(svg.contains("multiplies the time of a call of a.b by 50"), "{svg}");
        assert!(svg.contains("a&lt;b of a.b, one thread, 3 s"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3 + 5, "the legend, and the percentiles: {svg}");
        assert!(svg.contains(">1 us<") && svg.contains(">time of a call (logarithmic)<"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
