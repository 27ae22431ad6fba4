//! Installs what the benchmarks need besides Rust, with the package manager of Debian and Ubuntu.

use anyhow::{Context, bail};
use std::process::Command;

/// The packages for the Go program in `benches/peers/go`, for counting instructions and system calls, and for the font
/// of the charts.
const PACKAGES: [&str; 7] = [
    "golang-go",
    "golang-github-hashicorp-go-plugin-dev",
    "golang-google-grpc-dev",
    "valgrind",
    "strace",
    "libfontconfig1",
    "fonts-dejavu-core",
];

/// Installs the packages that are missing. If none is missing, does nothing and need not run as root.
///
/// # Errors
///
/// If the packages cannot be installed.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing = missing(&states()?);
    if missing.is_empty() {
        eprintln!("all packages are installed: {}", PACKAGES.join(", "));
        return Ok(());
    }
    // A new machine or container has no lists of packages, and an old list may name versions that are gone.
    apt_get(&["update"], &missing)?;
    apt_get(&[&["install", "--yes", "--no-install-recommends"], &*missing].concat(), &missing)
}

/// The states of the packages: in each line a name and a state. Packages that were never installed are not listed.
fn states() -> anyhow::Result<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${Package} ${db:Status-Status}\n"]).args(PACKAGES);
    let output = query.output().with_context(|| format!("cannot run dpkg-query; {}", remedy(&PACKAGES)))?;
    // The exit status is ignored: if dpkg-query does not know a package, it fails, but still lists the others.
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn missing(states: &str) -> Vec<&'static str> {
    let is_installed =
        |package: &&str| states.lines().any(|line| line.split_once(' ') == Some((*package, "installed")));
    PACKAGES.into_iter().filter(|package| !is_installed(package)).collect()
}

fn apt_get(args: &[&str], missing: &[&str]) -> anyhow::Result<()> {
    let mut apt = Command::new("apt-get");
    // Another run of apt-get may hold the lock, so this one waits for it.
    apt.args(["-o", "DPkg::Lock::Timeout=120"]).args(args).env("DEBIAN_FRONTEND", "noninteractive");
    let status = apt.status().with_context(|| format!("cannot run apt-get; {}", remedy(missing)))?;
    if !status.success() {
        bail!("`apt-get {}` failed ({status}): run it as root, or {}", args.join(" "), remedy(missing));
    }
    Ok(())
}

fn remedy(packages: &[&str]) -> String {
    format!("install them by other means: {}", packages.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_that_are_not_installed_are_missing() {
        let states = |state: &str| PACKAGES.map(|package| format!("{package} {state}")).join("\n");
        assert_eq!(missing(""), PACKAGES);
        assert_eq!(missing(&states("config-files")), PACKAGES, "removed");
        assert!(missing(&states("installed")).is_empty());
        let without_strace = states("installed").replace("strace installed", "strace not-installed");
        assert_eq!(missing(&without_strace), ["strace"]);
    }
}
