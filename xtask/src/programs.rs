//! `cargo xtask soak | kill | demo | oracle | simulate | bench`: runs programs of other packages, with the right
//! profile and arguments.

use crate::{packages, program_end};
use anyhow::Context;
use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::Command,
};

/// The arguments of the soak test.
#[derive(clap::Args)]
pub(crate) struct Soak {
    /// The number of reloads
    #[arg(long, default_value_t = 3000)]
    reloads: u64,
    /// Link each artifact with its own copy of std, and check that the host stops reloading in time and keeps serving
    #[arg(long)]
    own_std: bool,
    /// The mode of the plugin: `in-process`, `verified` (in process, with `unload = "verified"`) or `process`
    #[arg(long, default_value = "in-process", conflicts_with_all = ["own_std", "report"])]
    mode: String,
    /// Run all three modes, and write their courses and a chart into this folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "own_std")]
    report: Option<PathBuf>,
}

/// The arguments of the kill runs. Without `--shim` and `--moments`, the program does both kinds of runs.
#[derive(clap::Args)]
pub(crate) struct Kill {
    /// Kill a plugin's process this many times, under load
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "1000")]
    shim: Option<u64>,
    /// Kill a host at this many random moments, and check that no process and no file is left behind
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "50")]
    moments: Option<u64>,
    /// The seed of the random moments [default: random]. A run prints its seed
    #[arg(long)]
    seed: Option<u64>,
}

/// The arguments of the build oracle. By default, it tries all pairs of a shape and a change.
#[derive(clap::Args)]
pub(crate) struct Oracle {
    /// Try only the shapes of projects whose name contains this text
    #[arg(long, default_value = "")]
    shape: String,
    /// Try only the kinds of change whose name contains this text
    #[arg(long, default_value = "")]
    change: String,
}

/// The arguments of the simulation.
#[derive(clap::Args)]
pub(crate) struct Simulate {
    /// The number of histories. With 1, all steps of a history that breaks a rule are printed
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    histories: u64,
    /// The seed of the first history [default: random]. A run prints it, and the seed of a history that breaks a rule
    #[arg(long)]
    seed: Option<u64>,
}

/// The arguments of the benchmarks.
#[derive(clap::Args)]
pub(crate) struct Bench {
    /// Run only these benchmarks: call, counts, lanes, process, swap, live, many, http
    names: Vec<String>,
    /// First install, with apt-get, what the benchmarks need besides Rust and is missing: Go, go-plugin, gRPC, valgrind,
    /// strace and a font
    #[arg(long)]
    install: bool,
}

/// Runs the soak test.
///
/// # Errors
///
/// If the program does not compile or fails.
pub(crate) fn soak(root: &Path, with: &Soak) -> anyhow::Result<()> {
    let reloads = with.reloads.to_string();
    let mut args =
        vec!["run", "--quiet", "--package", "replug-tests", "--bin", "soak", "--", "--reloads", &reloads];
    let Some(folder) = &with.report else {
        args.extend(if with.own_std { vec!["--own-std"] } else { vec!["--mode", &with.mode] });
        return cargo(root, &args);
    };
    let folder = std::path::absolute(folder)?;
    let folder = folder.to_str().context("the path of the folder is not UTF-8")?;
    for mode in ["in-process", "verified", "process"] {
        cargo(root, &[&args[..], &["--mode", mode, "--report", folder]].concat())?;
    }
    draw(root, folder)
}

/// Draws the charts of a report, with the program in `benches/plot`.
fn draw(root: &Path, folder: &str) -> anyhow::Result<()> {
    let report = format!("{folder}/report.json");
    let args = ["run", "--quiet", "--locked", "--release", "--manifest-path", "benches/plot/Cargo.toml"];
    let target = root.join("target/peers");
    run(command(root, &args).arg("--target-dir").arg(target).args(["--", &report, folder]), &args)
}

/// Kills processes under load.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn kill(root: &Path, with: &Kill) -> anyhow::Result<()> {
    let given = [("--shim", with.shim), ("--moments", with.moments), ("--seed", with.seed)];
    let mut args: Vec<String> =
        ["run", "--quiet", "--package", "replug-tests", "--bin", "kill", "--"].map(str::to_owned).to_vec();
    for (name, value) in given {
        args.extend(value.into_iter().flat_map(|value| [name.to_owned(), value.to_string()]));
    }
    cargo(root, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Runs the demo.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn demo(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["run", "--quiet", "--package", "replug-tests", "--bin", "demo"])
}

/// Runs the build oracle.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn oracle(root: &Path, with: &Oracle) -> anyhow::Result<()> {
    let args = ["run", "--quiet", "--package", "replug-tests", "--bin", "oracle", "--"];
    cargo(root, &[&args[..], &["--shape", &with.shape, "--change", &with.change]].concat())
}

/// Runs the simulation of the lifecycle.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn simulate(root: &Path, with: &Simulate) -> anyhow::Result<()> {
    let args = [
        "test",
        "--quiet",
        "--package",
        "replug-engine",
        "--lib",
        "lifecycle::simulation",
        "--",
        "--nocapture",
    ];
    let seed = with.seed.unwrap_or_else(|| RandomState::new().hash_one(()) >> 24);
    let with = [("REPLUG_SEED", seed.to_string()), ("REPLUG_HISTORIES", with.histories.to_string())];
    run(command(root, &args).envs(with), &args)
}

/// Runs the benchmarks with these names, or all benchmarks.
///
/// # Errors
///
/// As [`soak`], and if the packages cannot be installed.
pub(crate) fn bench(root: &Path, with: &Bench) -> anyhow::Result<()> {
    if with.install {
        packages::install()?;
    }
    let mut args = vec!["bench", "--quiet", "--package", "replug-benches", "--"];
    args.extend(with.names.iter().map(String::as_str));
    cargo(root, &args)
}

fn cargo(root: &Path, args: &[&str]) -> anyhow::Result<()> {
    run(&mut command(root, args), args)
}

fn command(root: &Path, args: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(args).current_dir(root);
    command
}

fn run(command: &mut Command, args: &[&str]) -> anyhow::Result<()> {
    program_end::run(command, &format!("`cargo {}`", args.join(" ")))
}
