//! Draws several diagrams (*panels*) above one another. All panels have the same lines, one for each compared program.

use crate::{
    canvas::{At, Canvas, Drawn, Writing},
    chart::Panel,
};
use plotters::prelude::DrawingBackend;

/// The height of a panel, and the height of the space above the panel, which contains its label.
const HEIGHT: f64 = 120.0;
const GAP: f64 = 44.0;
/// The left and right ends of the horizontal axis. The last value of each line is printed to the right of it.
const AXIS: (f64, f64) = (80.0, 780.0);
/// The height of the legend above the panels.
const LEGEND: f64 = 24.0;
/// The minimum distance between two of the values that are printed to the right.
const APART: f64 = 16.0;

/// The height of the legend and of all panels.
pub(crate) fn height(panels: &[Panel]) -> f64 {
    LEGEND + (HEIGHT + GAP) * panels.len() as f64 - GAP
}

pub(crate) fn draw<B: DrawingBackend>(
    on: &Canvas<'_, B>,
    panels: &[Panel],
    axis: &str,
    top: f64,
) -> Drawn<B> {
    let counts = panels.iter().flat_map(|it| &it.lines).flat_map(|it| &it.points).map(|(count, _)| *count);
    let most = counts.fold(1.0, f64::max);
    let place = |count: f64| AXIS.0 + count / most * (AXIS.1 - AXIS.0);
    let bottom = top + height(panels);
    let top = top + LEGEND;
    legend(on, panels, top - 38.0)?;
    for (index, panel) in panels.iter().enumerate() {
        let top = top + (HEIGHT + GAP) * index as f64;
        draw_panel(on, panel, top, place)?;
    }
    for part in 0..=4 {
        let count = most * f64::from(part) / 4.0;
        on.text((place(count), bottom + 14.0), Writing::Dim, At::Middle, &format!("{count:.0}"))?;
    }
    on.text((f64::midpoint(AXIS.0, AXIS.1), bottom + 38.0), Writing::Dim, At::Middle, axis)
}

/// Draws the names of the lines, each beside a sample of its line.
fn legend<B: DrawingBackend>(on: &Canvas<'_, B>, panels: &[Panel], y: f64) -> Drawn<B> {
    let mut x = AXIS.0;
    for (index, line) in panels.iter().take(1).flat_map(|it| &it.lines).enumerate() {
        on.line(colour(on, index), 3, &[(x, y), (x + 18.0, y)])?;
        on.text((x + 25.0, y), Writing::Dim, At::Start, &line.name)?;
        x += on.width(Writing::Dim, &line.name) + 52.0;
    }
    Ok(())
}

fn colour<B: DrawingBackend>(on: &Canvas<'_, B>, index: usize) -> &'static str {
    let colours = on.theme().data;
    colours[index % colours.len()]
}

fn draw_panel<B: DrawingBackend>(
    on: &Canvas<'_, B>,
    panel: &Panel,
    top: f64,
    place: impl Fn(f64) -> f64,
) -> Drawn<B> {
    let bottom = top + HEIGHT;
    let values = panel.lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value);
    let end = round_up(values.fold(0.0, f64::max));
    let height = |value: f64| bottom - value / end * HEIGHT;
    on.text((AXIS.0, top - 15.0), Writing::Label, At::Start, &panel.label)?;
    for part in 0..=2 {
        let value = end * f64::from(part) / 2.0;
        on.line(on.theme().grid, 1, &[(AXIS.0, height(value)), (AXIS.1, height(value))])?;
        on.text((AXIS.0 - 8.0, height(value)), Writing::Dim, At::End, &number(value))?;
    }
    for (index, line) in panel.lines.iter().enumerate() {
        let points: Vec<_> =
            line.points.iter().map(|(count, value)| (place(*count), height(*value))).collect();
        on.line(colour(on, index), 2, &points)?;
    }
    let last = |(index, line): (usize, &crate::chart::Line)| Some((index, line.points.last()?.1));
    let mut last: Vec<_> = panel.lines.iter().enumerate().filter_map(last).collect();
    last.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    // The labels are placed from the bottom upwards, so that none is below the panel.
    let mut lowest = bottom;
    let mut places = Vec::new();
    for (index, value) in last.iter().rev() {
        let y = height(*value).min(lowest);
        lowest = y - APART;
        places.push((*index, *value, y));
    }
    for (index, value, y) in places {
        on.dot(colour(on, index), (AXIS.1 + 14.0, y), 4.0)?;
        on.text((AXIS.1 + 24.0, y), Writing::Label, At::Start, &number(value))?;
    }
    Ok(())
}

/// The smallest round number that is not less than the value.
fn round_up(value: f64) -> f64 {
    let decade = 10_f64.powf(value.max(1e-3).log10().floor());
    let round = [1.0, 2.0, 4.0, 5.0, 10.0].into_iter().find(|factor| value <= factor * decade);
    round.unwrap_or(10.0) * decade
}

fn number(value: f64) -> String {
    if value == value.round() || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}
