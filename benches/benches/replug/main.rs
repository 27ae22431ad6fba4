//! The benchmarks. `cargo bench -p replug-benches` runs all of them; with `-- call`, `-- counts`, `-- lanes`, `-- process`, `-- swap`,
//! `-- live`, `-- many` or `-- http`, it runs one.
//!
//! The program prints a page with every figure and its target, and also writes the page to `target/bench/`.

mod call;
mod counts;
mod http;
mod lanes;
mod live;
mod many;
mod process;
mod swap;

use anyhow::{Result, bail};
use replug_benches::{Report, Section};
use replug_tests::target_dir;
use std::env;

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
    lanes::another_part_if_asked()?;
    counts::count_if_asked()?;
    // Cargo also passes `--bench`, which names no benchmark.
    let wanted: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| ALL.iter().all(|(known, _)| known != name)) {
        let known: Vec<_> = ALL.iter().map(|(name, _)| *name).collect();
        bail!("unknown benchmark `{unknown}`: name one or more of {}, or none to run all", known.join(", "));
    }
    let mut report = Report::default();
    for (name, measure) in
        ALL.iter().filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|it| it == name))
    {
        eprintln!("measuring: {name}");
        report.sections.push(measure()?);
    }
    print!("{report}");
    let folder = target_dir().join("bench");
    report.write(&folder)?;
    eprintln!("\nalso in {}", folder.join("report.md").display());
    Ok(())
}
