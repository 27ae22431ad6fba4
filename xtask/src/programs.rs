//! `cargo xtask soak | kill | demo | oracle | simulate | bench`: programs of other packages, with the right profile and arguments.

use anyhow::{Context, bail};
use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
    process::Command,
};

/// What the soak is told.
#[derive(clap::Args)]
pub(crate) struct Soak {
    /// How many
    #[arg(long, default_value_t = 3000)]
    reloads: u64,
    /// Link each artifact with its own copy of std: the host is to stop in time, and to live on
    #[arg(long)]
    own_std: bool,
    /// Where to load them: in-process, or process
    #[arg(long, default_value = "in-process", conflicts_with = "own_std")]
    mode: String,
}

/// What the kill runs are told. Without either, both are run.
#[derive(clap::Args)]
pub(crate) struct Kill {
    /// Kill a plugin's process so many times, under load
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "1000")]
    shim: Option<u64>,
    /// Kill a host at so many random moments, and look for what it leaves behind
    #[arg(long, value_name = "COUNT", num_args = 0..=1, default_missing_value = "50")]
    moments: Option<u64>,
    /// The seed of the moments: a run prints its own
    #[arg(long)]
    seed: Option<u64>,
}

/// What the build oracle is told. Without either, it tries all pairs.
#[derive(clap::Args)]
pub(crate) struct Oracle {
    /// Only shapes of projects whose name contains this
    #[arg(long, default_value = "")]
    shape: String,
    /// Only kinds of change whose name contains this
    #[arg(long, default_value = "")]
    change: String,
}

/// What the simulation is told.
#[derive(clap::Args)]
pub(crate) struct Simulate {
    /// How many histories; of a single one, each step is printed if it breaks a rule
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000)]
    histories: u64,
    /// The seed of the first; another in each run unless given. A run prints it, and that of a history that breaks a rule
    #[arg(long)]
    seed: Option<u64>,
}

/// The soak.
///
/// # Errors
///
/// If it does not compile, or ends with an error.
pub(crate) fn soak(root: &Path, with: &Soak) -> anyhow::Result<()> {
    let reloads = with.reloads.to_string();
    let mut args =
        vec!["run", "--quiet", "--package", "replug-tests", "--bin", "soak", "--", "--reloads", &reloads];
    if with.own_std {
        args.push("--own-std");
    } else {
        args.extend(["--mode", &with.mode]);
    }
    cargo(root, &args)
}

/// The kill runs.
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

/// The demo.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn demo(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["run", "--quiet", "--package", "replug-tests", "--bin", "demo"])
}

/// The build oracle.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn oracle(root: &Path, with: &Oracle) -> anyhow::Result<()> {
    let args = ["run", "--quiet", "--package", "replug-tests", "--bin", "oracle", "--"];
    cargo(root, &[&args[..], &["--shape", &with.shape, "--change", &with.change]].concat())
}

/// The simulation of the lifecycle.
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

/// The benchmarks: all, or those that are named.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn bench(root: &Path, names: &[String]) -> anyhow::Result<()> {
    let mut args = vec!["bench", "--quiet", "--package", "replug-benches", "--"];
    args.extend(names.iter().map(String::as_str));
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
    let status = command.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status}): it says why above", args.join(" "));
    }
    Ok(())
}
