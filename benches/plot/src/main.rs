//! Draws the charts of a report: `plot REPORT.json FOLDER`. Each chart becomes an SVG and a PNG image for light pages, and
//! the same for dark pages.

mod canvas;
mod draw;
mod panels;

#[path = "../../src/chart.rs"]
mod chart;
#[path = "../../../host/cli/src/bench/style.rs"]
mod style;

use canvas::Canvas;
use chart::Chart;
use plotters::prelude::{BitMapBackend, IntoDrawingArea, SVGBackend};
use serde::Deserialize;
use std::{env, error::Error, fs, path::Path};
use style::{DARK, LIGHT};

/// Pixels of a PNG image for each point, for screens with a high resolution.
const PIXELS: u32 = 2;

/// The part of a report that has charts.
#[derive(Deserialize)]
struct Drawing {
    sections: Vec<Charts>,
}

#[derive(Deserialize)]
struct Charts {
    charts: Vec<Chart>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [report, folder] = arguments.as_slice() else { return Err("usage: plot REPORT.json FOLDER".into()) };
    let report: Drawing = serde_json::from_slice(&fs::read(report)?)?;
    for chart in report.sections.iter().flat_map(|section| &section.charts) {
        for (name, theme) in [("light", &LIGHT), ("dark", &DARK)] {
            let file = |extension| Path::new(folder).join(format!("{}-{name}.{extension}", chart.file));
            let (width, height) = draw::size(chart);
            let svg = file("svg");
            let area = SVGBackend::new(&svg, (width, height)).into_drawing_area();
            draw::draw(chart, &Canvas::new(area, theme, 1.0)?)?;
            let png = file("png");
            let area = BitMapBackend::new(&png, (width * PIXELS, height * PIXELS)).into_drawing_area();
            draw::draw(chart, &Canvas::new(area, theme, f64::from(PIXELS))?)?;
        }
    }
    Ok(())
}
