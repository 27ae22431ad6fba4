//! Programs that tests need besides Rust and a C compiler. They are installed if that is allowed, and reported if they
//! are missing.

use crate::own_process;
use std::{
    env,
    fs::File,
    io::{self, Write as _},
    process::{Command, Stdio},
    thread,
};

/// Whether tests may install missing programs: they may on a machine for tests (`CI=true`), and on request
/// (`REPLUG_INSTALL=1`).
pub fn may_install() -> bool {
    let is = |name, wanted| env::var_os(name).is_some_and(|value| value == wanted);
    is("CI", "true") || is("REPLUG_INSTALL", "1")
}

/// Installs packages of Debian. Returns whether they are installed now. Only root can install packages.
pub fn apt_install(packages: &[&str]) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    let _alone = alone_with_apt();
    let apt = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        let apt = apt.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        apt.status().is_ok_and(|status| status.success())
    };
    apt(&["update"]) && apt(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

/// A lock for running `apt-get`, which cannot run twice at the same time.
pub fn alone_with_apt() -> File {
    own_process::lock("apt")
}

/// Reports that the running test skips something, and why.
pub fn skipped(why: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    // The test harness shows the output of `eprintln!` only for tests that fail.
    let _ = writeln!(io::stderr(), "SKIPPED in {test}: {why}");
}
