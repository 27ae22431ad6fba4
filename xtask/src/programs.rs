//! `cargo xtask soak | demo | bench`: programs of other packages, with the right profile and arguments.

use anyhow::{Context, bail};
use std::{path::Path, process::Command};

/// What the soak is told.
#[derive(clap::Args)]
pub(crate) struct Soak {
    /// How many
    #[arg(long, default_value_t = 3000)]
    reloads: u64,
    /// Link each artifact with its own copy of std: the host is to stop in time, and to live on
    #[arg(long)]
    own_std: bool,
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
    }
    cargo(root, &args)
}

/// The demo.
///
/// # Errors
///
/// As [`soak`].
pub(crate) fn demo(root: &Path) -> anyhow::Result<()> {
    cargo(root, &["run", "--quiet", "--package", "replug-tests", "--bin", "demo"])
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
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(args).current_dir(root).status().context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status}): it says why above", args.join(" "));
    }
    Ok(())
}
