//! The project's own commands, run as `cargo xtask COMMAND`. This file parses the arguments. The other files implement
//! the commands.

mod ci;
mod packages;
mod program_end;
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
    /// Run all checks before a change is merged: format, lints, docs, tidy, tests
    Ci,
    /// Check the project's own rules, which the compiler does not check
    Tidy,
    /// Run the demo, which takes two minutes and needs no input
    Demo,
    /// Run thousands of reloads in one process, under load
    Soak(programs::Soak),
    /// Kill processes under load, and check that calls fail as documented and that nothing is left behind
    Kill(programs::Kill),
    /// Compare incremental builds with clean builds, for many projects and kinds of change
    Oracle(programs::Oracle),
    /// Test the lifecycle of a plugin with random histories of events, in simulated time
    Simulate(programs::Simulate),
    /// Run the benchmarks and their alternatives, and write target/bench/report.md
    Bench(programs::Bench),
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
        Command::Bench(with) => programs::bench(root(), &with),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The error is printed without a backtrace, even if RUST_BACKTRACE is set, because the failed step has
            // printed its own message.
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
