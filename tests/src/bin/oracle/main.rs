//! Runs the build oracle (`tests/src/oracle`) for all its projects and changes, with a restart after each change.
//! `cargo xtask oracle` runs it.

use anyhow::{Result, bail};
use clap::Parser;
use replug_tests::oracle::{self, Depth, LEFT_OUT, Outcome};
use std::process::ExitCode;

#[derive(Parser)]
#[command(
    name = "oracle",
    about = "Compares the builds of a watching host with clean builds, for many projects and changes"
)]
struct Arguments {
    /// Check only shapes whose name contains this text
    #[arg(long, default_value = "")]
    shape: String,
    /// Check only changes whose name contains this text
    #[arg(long, default_value = "")]
    change: String,
}

fn main() -> ExitCode {
    replug::shim::run_if_asked();
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let pairs = oracle::run((&arguments.shape, &arguments.change), Depth::Restart, |pair| {
        anstream::println!("{pair}");
    });
    for (what, why) in LEFT_OUT {
        anstream::println!("{what:<18} left out: {why}");
    }
    let builds: Vec<_> = pairs
        .iter()
        .filter_map(|pair| match pair.outcome {
            Outcome::Right { builds } => Some(builds),
            _ => None,
        })
        .collect();
    let wrong = pairs.iter().filter(|pair| matches!(pair.outcome, Outcome::Wrong(_))).count();
    let (all, most) = (builds.iter().sum::<usize>(), builds.iter().max().copied().unwrap_or(0));
    anstream::println!(
        "{} pairs: {} right, {wrong} wrong, {} not applicable; {all} builds, at most {most} for a change",
        pairs.len(),
        builds.len(),
        pairs.len() - builds.len() - wrong,
    );
    if wrong > 0 {
        bail!("{wrong} of the pairs are wrong: see the lines above");
    }
    Ok(())
}
