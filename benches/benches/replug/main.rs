//! The benchmarks. `cargo bench -p replug-benches` runs all of them; with `-- call`, `-- counts`, `-- lanes`,
//! `-- process`, `-- swap`, `-- live`, `-- many` or `-- http`, it runs one.
//!
//! The program prints a page with every figure and its target. It also writes the page and its charts to `target/bench/`.

mod bare;
mod call;
mod counts;
mod floor;
mod go_plugin;
mod hot_lib;
mod http;
mod lanes;
mod live;
mod live_plugins;
mod live_stages;
mod many;
mod peers;
mod process;
mod served;
mod signatures;
mod swap;
mod swaps;

use anyhow::{Context, Result, bail, ensure};
use replug_benches::{Report, Section};
use replug_tests::{target_dir, workspace};
use std::{env, path::Path, process::Command};

type Benchmark = fn() -> Result<Section>;

const ALL: &[(&str, Benchmark)] = &[
    ("call", call::measure),
    ("counts", counts::measure),
    ("lanes", lanes::measure),
    ("process", process::measure),
    ("swap", swap::measure),
    ("live", live::measure),
    ("many", many::measure),
    ("http", http::measure),
];

fn main() -> Result<()> {
    replug::shim::run_if_asked();
    floor::other_end_if_asked()?;
    lanes::another_part_if_asked()?;
    counts::count_if_asked()?;
    many::measure_one_if_asked()?;
    // Cargo also passes `--bench`, which names no benchmark.
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| ALL.iter().all(|(known, _)| known != name)) {
        let known: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        bail!("unknown benchmark `{unknown}`: name one or more of {}, or none to run all", known.join(", "));
    }
    let folder = target_dir().join("bench");
    let mut report = Report { head: peers::head()?, ..Report::default() };
    for (name, measure) in
        ALL.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name))
    {
        eprintln!("measuring: {name}");
        report.sections.push(measure()?);
        // A run that is interrupted leaves its results.
        report.write(&folder)?;
    }
    print!("{report}");
    eprintln!("\nalso in {}", folder.join("report.md").display());
    draw(&folder).context("the report is complete, but its charts are not drawn")
}

/// Draws the charts of the report, with the program in `benches/plot`.
fn draw(folder: &Path) -> Result<()> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--locked", "--release", "--manifest-path"])
        .arg(workspace().join("benches/plot/Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir().join("peers"))
        .arg("--")
        .args([&folder.join("report.json"), folder])
        .status()?;
    ensure!(status.success(), "`cargo run` in benches/plot failed: see its output above");
    Ok(())
}
