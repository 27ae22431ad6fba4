//! `cargo xtask ci`: all checks in one command, for developers and for CI. It stops at the first step that fails.

use crate::tidy;
use anyhow::{Context, bail};
use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    num::NonZero,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// A step that runs cargo.
struct Step {
    name: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    /// What to do if the step fails.
    remedy: &'static str,
}

const CHECKS: &[Step] = &[
    Step {
        name: "format",
        args: &["fmt", "--all", "--check"],
        env: &[],
        remedy: "run `cargo fmt --all` (if cargo has no `fmt`: `rustup component add rustfmt`)",
    },
    Step {
        name: "clippy",
        args: &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
        env: &[],
        remedy: "fix the reported code (if cargo has no `clippy`: `rustup component add clippy`)",
    },
    Step {
        name: "without the control plane",
        args: &[
            "clippy",
            "--package",
            "replug",
            "--all-targets",
            "--no-default-features",
            "--",
            "-D",
            "warnings",
        ],
        env: &[],
        remedy: "fix the reported code: an embedding program may disable the feature `control`",
    },
    // The other steps build the command together with all packages, and so with the features that any of them enables.
    Step {
        name: "the command alone",
        args: &["check", "--package", "replug-cli"],
        env: &[],
        remedy: "fix the compile errors: probably, a `Cargo.toml` lacks a feature that another package enables",
    },
    // The fuzz targets are no part of the workspace, and include files of other crates.
    Step {
        name: "fuzz targets",
        args: &[
            "check",
            "--manifest-path",
            "host/wire/fuzz/Cargo.toml",
            "--target-dir",
            "target/fuzz",
            "--no-default-features",
        ],
        env: &[],
        remedy: "fix the compile errors: the targets include `slot.rs` and `damage.rs` of `host/runtime/src/lane`",
    },
    Step {
        name: "rustdoc",
        args: &["doc", "--workspace", "--no-deps"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
        remedy: "fix the reported doc comments",
    },
];

/// The maximum number of packages that an embedding program without the control plane compiles.
const EMBEDDED: usize = 100;

const TESTS: &[Step] = &[
    // The end-to-end tests run the command `replug`, which `cargo test` alone does not build.
    Step { name: "build", args: &["build", "--workspace"], env: &[], remedy: "fix the compile errors" },
    Step {
        name: "test",
        args: &["test", "--workspace"],
        env: &[],
        remedy: "fix the tests that the output lists under `failures`; `cargo test -p PACKAGE NAME` runs one test again",
    },
    Step {
        name: "test without the control plane",
        args: &["test", "--package", "replug", "--no-default-features", "--tests"],
        env: &[],
        remedy: "fix the tests that the output lists under `failures`: an embedding program may disable the feature `control`",
    },
    Step {
        name: "types of other crates",
        args: &["test", "--package", "replug-api", "--features", "bytes,uuid", "--test", "crates"],
        env: &[],
        remedy: "fix the tests that the output lists under `failures`",
    },
    Step {
        name: "tls",
        args: &["test", "--package", "replug", "--features", "tls", "--test", "tls"],
        env: &[],
        remedy: "fix the tests that the output lists under `failures`",
    },
];

/// Runs all steps in the workspace at `root`.
///
/// # Errors
///
/// If a step fails. The message names the step and states what to do.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for step in CHECKS {
        timed(&mut times, step.name, || cargo(root, step))?;
    }
    timed(&mut times, "tidy", || tidy::run(root))?;
    timed(&mut times, "packages", || count_packages(root))?;
    timed(&mut times, "features", || compare_features(root))?;
    for step in TESTS {
        timed(&mut times, step.name, || cargo(root, step))?;
    }
    let total = times.iter().map(|(_, took)| *took).sum();
    let each: Vec<String> = times.iter().map(|(name, took)| format!("{name} {}", seconds(*took))).collect();
    println!("ci passed in {}: {}", seconds(total), each.join(", "));
    Ok(())
}

fn timed(
    times: &mut Vec<(&'static str, Duration)>,
    name: &'static str,
    step: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    println!("==> {name}");
    let start = Instant::now();
    let outcome = step();
    let took = start.elapsed();
    let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
    println!("==> {name}: {verdict} in {}", seconds(took));
    times.push((name, took));
    outcome.with_context(|| format!("ci stopped at `{name}`"))
}

fn cargo(root: &Path, step: &Step) -> anyhow::Result<()> {
    let status = Command::new(program())
        .args(step.args)
        .env("RUST_TEST_THREADS", test_threads())
        .envs(step.env.iter().copied())
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("`cargo {}` failed ({status}): {}", step.args.join(" "), step.remedy);
    }
    Ok(())
}

/// How many tests of a program run at the same time. Many end-to-end tests wait for processes, timers and the browser, so
/// one test for each processor would leave the processors idle for a third of the time.
fn test_threads() -> String {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    env::var("RUST_TEST_THREADS").unwrap_or_else(|_| (2 * processors).to_string())
}

/// Checks that an embedding program compiles at most [`EMBEDDED`] packages.
fn count_packages(root: &Path) -> anyhow::Result<()> {
    let args = ["--package", "replug", "--no-default-features", "--edges", "normal"];
    let listed = tree(root, &args)?;
    // A line begins with the name and the version of a package.
    let packages: BTreeSet<_> =
        listed.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>()).collect();
    println!("{} packages, of at most {EMBEDDED} allowed", packages.len());
    if packages.len() > EMBEDDED {
        bail!(
            "a program that embeds `replug` without default features compiles {} packages, more than {EMBEDDED}: remove \
             some, or make them optional (`cargo tree {}`)",
            packages.len(),
            args.join(" ")
        );
    }
    Ok(())
}

/// Checks that `cargo build`, `cargo test` and a build of `replug-tests` alone, as in some end-to-end tests, compile the
/// packages with the same features. Otherwise each would compile the packages, and all crates that depend on them, again.
fn compare_features(root: &Path) -> anyhow::Result<()> {
    let of =
        |select: &[&str], edges| tree(root, &[select, &["--edges", edges, "--format", "{p}: {f}"]].concat());
    let tested = of(&["--workspace"], "normal,build,dev")?;
    for select in [&["--workspace"][..], &["--package", "replug-tests"]] {
        let built = of(select, "normal,build")?;
        let differing = recompiled(&built, &tested);
        if !differing.is_empty() {
            bail!(
                "`cargo test --workspace` enables other features than `cargo build {}`, and compiles these packages again: \
                 list their features under `dependencies` of `tests/Cargo.toml`\n{}",
                select.join(" "),
                differing.join("\n")
            );
        }
    }
    Ok(())
}

/// The lines of `tested` whose package `built` contains only with other features.
fn recompiled<'a>(built: &'a str, tested: &'a str) -> Vec<&'a str> {
    let package = |line: &'a str| line.split(": ").next().unwrap_or(line);
    let lines =
        |listed: &'a str| listed.lines().map(|line| line.trim_end_matches(" (*)")).collect::<BTreeSet<_>>();
    let (built, tested) = (lines(built), lines(tested));
    let packages: BTreeSet<_> = built.iter().map(|line| package(line)).collect();
    tested.difference(&built).copied().filter(|line| packages.contains(package(line))).collect()
}

/// The packages that `cargo tree` lists, one in each line.
fn tree(root: &Path, args: &[&str]) -> anyhow::Result<String> {
    let mut cargo = Command::new(program());
    let listed = cargo.args(["tree", "--prefix", "none"]).args(args).current_dir(root).output();
    let listed = listed.context("cannot run cargo")?;
    if !listed.status.success() {
        bail!("`cargo tree {}` failed: {}", args.join(" "), String::from_utf8_lossy(&listed.stderr));
    }
    Ok(String::from_utf8_lossy(&listed.stdout).into_owned())
}

fn program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_tests_compile_with_more_features_is_reported() {
        let built = "a v1.0.0: std\nb v1.0.0: \nb v2.0.0: x\nb v2.0.0: x (*)";
        let tested = "a v1.0.0: std (*)\nb v1.0.0: \nb v2.0.0: x,y\nc v1.0.0: z";
        assert_eq!(recompiled(built, tested), ["b v2.0.0: x,y"]);
        assert_eq!(recompiled(tested, tested), [""; 0]);
    }
}
