//! The project's own commands, run as `cargo xtask COMMAND`. One file per command; this one only parses.

mod ci;
mod programs;
mod tidy;

use clap::{Parser, Subcommand};
use std::{path::Path, process::ExitCode};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Everything that must hold before a change is merged: format, lints, docs, tidy, tests
    Ci,
    /// The rules of the house that no compiler checks
    Tidy,
    /// What it does, in two minutes and without a keystroke
    Demo,
    /// Thousands of reloads in one process, under load
    Soak(programs::Soak),
    /// Kills processes under load, and looks at what that costs and leaves behind
    Kill(programs::Kill),
    /// Compares what is built with clean builds, for many projects and kinds of change
    Oracle(programs::Oracle),
    /// Tests the lifecycle of a plugin in histories of events at random, on simulated time
    Simulate(programs::Simulate),
    /// Measures, beside the things to compare with, and writes target/bench/report.md
    Bench {
        /// Only these: call, process, swap, live, http
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Ci => ci::run(root()),
        Command::Tidy => tidy::run(root()),
        Command::Demo => programs::demo(root()),
        Command::Soak(with) => programs::soak(root(), &with),
        Command::Kill(with) => programs::kill(root(), &with),
        Command::Oracle(with) => programs::oracle(root(), &with),
        Command::Simulate(with) => programs::simulate(root(), &with),
        Command::Bench { names } => programs::bench(root(), &names),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line, even where RUST_BACKTRACE is set: what failed has said its own piece above.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace.
fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
