//! The chart of `replug bench --plot`: an SVG image with a row for each way of calling the method. A row shows the
//! percentiles of the calls.

use super::{
    advice::advice,
    measure::Row,
    numbers::duration,
    report::Report,
    style::{DARK, LIGHT, Theme, decades, tick},
};
use crate::table::wrapped;
use std::fmt::Write as _;

const WIDTH: f64 = 860.0;
/// The left and the right end of the axis.
const AXIS: (f64, f64) = (250.0, 820.0);
const TITLE_LINE: f64 = 22.0;
const ROW: f64 = 46.0;

/// Both themes: a reader's browser selects one.
fn style() -> String {
    let fonts = "text { font: 13px system-ui, sans-serif }\n.title { font-size: 16px; font-weight: 600 }\n.range { stroke-width: 2 }\n";
    let colours = |theme: &Theme| {
        let [p50, p99, p99_9] = theme.data;
        let Theme { back, text, dim, grid, range, .. } = theme;
        format!(
            "text {{ fill: {text} }}\n.dim {{ fill: {dim} }}\n.back {{ fill: {back} }}\n.grid {{ stroke: {grid} }}\n\
             .range {{ stroke: {range} }}\n.p50 {{ fill: {p50} }}\n.p99 {{ fill: {p99} }}\n.p99-9 {{ fill: {p99_9} }}\n"
        )
    };
    let (light, dark) = (colours(&LIGHT), colours(&DARK));
    format!("{fonts}{light}@media (prefers-color-scheme: dark) {{\n{dark}}}")
}

/// A logarithmic axis over whole decades, in nanoseconds.
struct Axis {
    /// The exponents of the first and the last power of ten.
    decades: (i32, i32),
}

impl Axis {
    /// The smallest axis with all these values.
    fn of(values: impl Iterator<Item = f64>) -> Self {
        Self { decades: decades(values) }
    }

    fn x(&self, ns: f64) -> f64 {
        let (first, last) = (f64::from(self.decades.0), f64::from(self.decades.1));
        let share = (ns.max(1.0).log10() - first) / (last - first);
        AXIS.0 + share * (AXIS.1 - AXIS.0)
    }
}

/// The chart. Its title is the advice.
pub(super) fn svg(report: &Report) -> String {
    let axis = Axis::of(report.rows.iter().flat_map(|row| marks(row).map(|(_, ns)| ns)));
    let title = wrapped(&advice(report).replace('`', ""), 84);
    let top = (0..title.len()).fold(38.0, |y, _| y + TITLE_LINE) + 30.0;
    let bottom = report.rows.iter().fold(top, |y, _| y + ROW);
    let height = bottom + 62.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\">\n<style>\n{}\n</style>\n<rect class=\"back\" width=\"100%\" height=\"100%\"/>\n",
        style()
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
