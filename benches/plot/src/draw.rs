//! Draws one chart.

use crate::{
    canvas::{At, Canvas, Drawn, Writing},
    chart::{Bar, Chart, Line, Plot, Point, Role},
    panels,
    style::{decades, tick},
};
use plotters::prelude::DrawingBackend;

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 20.0;
const TITLE_LINE: f64 = 23.0;
/// The height above the data, which has room for a title of two lines.
const ABOVE: f64 = 112.0;
/// The height below the data, for the labels of the axis.
const BELOW: f64 = 58.0;
/// The left and right ends of the horizontal axis, in charts of points and of bars.
const AXIS: (f64, f64) = (400.0, 830.0);
const ROW: f64 = 30.0;
const BAR_ROW: f64 = 46.0;
const LINES_HEIGHT: f64 = 360.0;
/// The left and right ends of the horizontal axis, in charts of lines. The names of the lines are to the right.
const LINES_AXIS: (f64, f64) = (80.0, 680.0);

/// The width and the height of a chart.
pub(crate) fn size(chart: &Chart) -> (u32, u32) {
    let data = match &chart.plot {
        Plot::Points { points } => ROW * points.len() as f64,
        Plot::Lines { .. } => LINES_HEIGHT,
        Plot::Panels { panels } => panels::height(panels),
        Plot::Stages { bars } => BAR_ROW * bars.len() as f64,
    };
    (WIDTH as u32, (ABOVE + data + BELOW) as u32)
}

/// Draws the chart.
pub(crate) fn draw<B: DrawingBackend>(chart: &Chart, on: &Canvas<'_, B>) -> Drawn<B> {
    let mut y = 28.0;
    for line in wrapped(on, Writing::Title, &chart.title, WIDTH - 2.0 * MARGIN) {
        on.text((MARGIN, y), Writing::Title, At::Start, &line)?;
        y += TITLE_LINE;
    }
    on.text((MARGIN, y), Writing::Dim, At::Start, &chart.subject)?;
    match &chart.plot {
        Plot::Points { points } => draw_points(on, points, &chart.axis)?,
        Plot::Lines { bytes, lines } => draw_lines(on, lines, bytes, &chart.axis)?,
        Plot::Panels { panels } => panels::draw(on, panels, &chart.axis, ABOVE)?,
        Plot::Stages { bars } => draw_stages(on, bars, &chart.axis)?,
    }
    on.finish()
}

/// A text, broken into lines of at most this width.
fn wrapped<B: DrawingBackend>(on: &Canvas<'_, B>, writing: Writing, text: &str, width: f64) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last().map_or("", String::as_str);
        let longer = format!("{last} {word}").trim().to_owned();
        if last.is_empty() || on.width(writing, &longer) <= width {
            lines.pop();
            lines.push(longer);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// A logarithmic axis over whole decades.
struct Log {
    decades: (i32, i32),
    ends: (f64, f64),
}

impl Log {
    fn place(&self, value: f64) -> f64 {
        let (first, last) = (f64::from(self.decades.0), f64::from(self.decades.1));
        let share = (value.max(1.0).log10() - first) / (last - first);
        self.ends.0 + share * (self.ends.1 - self.ends.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.decades.0..=self.decades.1).map(|decade| 10_f64.powi(decade))
    }
}

/// Draws the names of the roles, each beside a dot of its colour.
fn legend<B: DrawingBackend>(on: &Canvas<'_, B>, roles: impl Iterator<Item = Role>) -> Drawn<B> {
    let there: Vec<Role> = roles.collect();
    let mut x = AXIS.0;
    for (role, name) in
        [(Role::Ours, "replug"), (Role::Peer, "others"), (Role::Floor, "for comparison: no plugin system")]
    {
        if there.contains(&role) {
            on.dot(on.of(role), (x, ABOVE - 18.0), 5.0)?;
            on.text((x + 11.0, ABOVE - 18.0), Writing::Dim, At::Start, name)?;
            x += on.width(Writing::Dim, name) + 36.0;
        }
    }
    Ok(())
}

/// Draws the lines and the labels of a vertical grid.
fn grid<B: DrawingBackend>(
    on: &Canvas<'_, B>,
    ticks: impl Iterator<Item = (f64, String)>,
    bottom: f64,
    axis: &str,
    ends: (f64, f64),
) -> Drawn<B> {
    for (x, label) in ticks {
        on.line(on.theme().grid, 1, &[(x, ABOVE), (x, bottom)])?;
        on.text((x, bottom + 14.0), Writing::Dim, At::Middle, &label)?;
    }
    on.text((f64::midpoint(ends.0, ends.1), bottom + 38.0), Writing::Dim, At::Middle, axis)
}

fn draw_points<B: DrawingBackend>(on: &Canvas<'_, B>, points: &[Point], axis: &str) -> Drawn<B> {
    legend(on, points.iter().map(|point| point.role))?;
    let log = Log { decades: decades(points.iter().map(|point| point.ns)), ends: AXIS };
    let bottom = ABOVE + ROW * points.len() as f64;
    grid(on, log.ticks().map(|ns| (log.place(ns), tick(ns))), bottom, axis, AXIS)?;
    for (index, point) in points.iter().enumerate() {
        let (x, y) = (log.place(point.ns), ABOVE + ROW * (index as f64 + 0.5));
        on.text((AXIS.0 - 14.0, y), Writing::Label, At::End, &point.name)?;
        on.line(on.theme().range, 1, &[(AXIS.0, y), (x, y)])?;
        on.dot(on.of(point.role), (x, y), 6.0)?;
        on.text((x + 13.0, y), Writing::Label, At::Start, &duration(point.ns))?;
    }
    Ok(())
}

fn draw_lines<B: DrawingBackend>(on: &Canvas<'_, B>, lines: &[Line], bytes: &str, axis: &str) -> Drawn<B> {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (least, most) =
        all().fold((f64::MAX, 1.0_f64), |(least, most), (bytes, _)| (least.min(*bytes), most.max(*bytes)));
    let bottom = ABOVE + LINES_HEIGHT;
    let place = |bytes: f64| {
        let share = (bytes.log2() - least.log2()) / (most.log2() - least.log2()).max(1.0);
        LINES_AXIS.0 + share * (LINES_AXIS.1 - LINES_AXIS.0)
    };
    let steps = (least.log2() as i32..=most.log2() as i32).step_by(3).map(|power| 2_f64.powi(power));
    grid(on, steps.map(|len| (place(len), length(len))), bottom, bytes, LINES_AXIS)?;
    let log = Log { decades: decades(all().map(|(_, ns)| *ns)), ends: (bottom, ABOVE) };
    for ns in log.ticks() {
        let y = log.place(ns);
        on.line(on.theme().grid, 1, &[(LINES_AXIS.0, y), (LINES_AXIS.1, y)])?;
        on.text((LINES_AXIS.0 - 8.0, y), Writing::Dim, At::End, &tick(ns))?;
    }
    on.text((MARGIN, ABOVE - 18.0), Writing::Dim, At::Start, axis)?;
    for (index, line) in lines.iter().enumerate() {
        let colour = shade(on, lines, index);
        let points: Vec<_> = line.points.iter().map(|(bytes, ns)| (place(*bytes), log.place(*ns))).collect();
        on.line(&colour, 2, &points)?;
        points.iter().try_for_each(|point| on.dot(&colour, *point, 3.5))?;
    }
    draw_names(on, lines, |bytes, ns| (place(bytes), log.place(ns)))
}

/// The colour of a line. The first line of a role has the role's colour, and later lines have a paler one.
fn shade<B: DrawingBackend>(on: &Canvas<'_, B>, lines: &[Line], index: usize) -> String {
    let role = lines[index].role;
    let first = lines[..index].iter().all(|line| line.role != role);
    on.mixed(on.of(role), if first { 1.0 } else { 0.62 })
}

/// Draws the name of each line near the line's right end. Names that would overlap are moved down.
fn draw_names<B: DrawingBackend>(
    on: &Canvas<'_, B>,
    lines: &[Line],
    place: impl Fn(f64, f64) -> (f64, f64),
) -> Drawn<B> {
    const APART: f64 = 17.0;
    let end = |line: &Line| line.points.last().map(|(bytes, ns)| place(*bytes, *ns));
    let mut names: Vec<_> =
        lines.iter().enumerate().filter_map(|(index, line)| Some((index, line, end(line)?))).collect();
    names.sort_by(|(.., one), (.., other)| one.1.total_cmp(&other.1));
    let mut next = ABOVE;
    for (index, line, (x, y)) in names {
        let at = y.max(next);
        next = at + APART;
        let from = (LINES_AXIS.1 + 14.0, at);
        on.line(on.theme().range, 1, &[(x + 5.0, y), (from.0 - 3.0, at)])?;
        on.dot(&shade(on, lines, index), (from.0 + 3.0, at), 4.0)?;
        on.text((from.0 + 12.0, at), Writing::Label, At::Start, &line.name)?;
    }
    Ok(())
}

fn draw_stages<B: DrawingBackend>(on: &Canvas<'_, B>, bars: &[Bar], axis: &str) -> Drawn<B> {
    let total = |bar: &Bar| bar.stages.iter().map(|(_, ms)| ms).sum::<f64>();
    let most = bars.iter().map(total).fold(1.0, f64::max);
    let step = [10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3];
    let step = step.into_iter().find(|step| most / step <= 6.0).unwrap_or(1e4);
    let end = (most / step).ceil() * step;
    let place = |ms: f64| AXIS.0 + ms / end * (AXIS.1 - AXIS.0);
    let bottom = ABOVE + BAR_ROW * bars.len() as f64;
    let ticks = (0..=(end / step) as u32).map(|index| f64::from(index) * step);
    grid(on, ticks.map(|ms| (place(ms), format!("{ms:.0} ms"))), bottom, axis, AXIS)?;
    for (index, bar) in bars.iter().enumerate() {
        let y = ABOVE + BAR_ROW * (index as f64 + 0.5);
        on.text((AXIS.0 - 14.0, y - 7.0), Writing::Label, At::End, &bar.name)?;
        let stages = bar.stages.iter().map(|(name, ms)| format!("{name} {ms:.0}"));
        on.text((AXIS.0 - 14.0, y + 9.0), Writing::Dim, At::End, &stages.collect::<Vec<_>>().join(" + "))?;
        let mut from = 0.0;
        for (part, (_, ms)) in bar.stages.iter().enumerate() {
            let share = 1.0 - 0.55 * part as f64 / (bar.stages.len() as f64 - 1.0).max(1.0);
            let colour = on.mixed(on.of(bar.role), share);
            on.bar(&colour, (place(from), y - 11.0), (place(from + ms), y + 11.0))?;
            from += ms;
        }
        on.text((place(from) + 8.0, y), Writing::Label, At::Start, &format!("{from:.0} ms"))?;
    }
    Ok(())
}

/// Nanoseconds with three digits, such as `4.72 ns` or `24.1 us`.
fn duration(ns: f64) -> String {
    let (value, unit) = match ns {
        ns if ns < 1e3 => (ns, "ns"),
        ns if ns < 1e6 => (ns / 1e3, "us"),
        ns => (ns / 1e6, "ms"),
    };
    match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    }
}

/// A number of bytes that is a power of two.
fn length(bytes: f64) -> String {
    match bytes {
        bytes if bytes < 1024.0 => format!("{bytes:.0} B"),
        bytes if bytes < 1_048_576.0 => format!("{:.0} KiB", bytes / 1024.0),
        bytes => format!("{:.0} MiB", bytes / 1_048_576.0),
    }
}
