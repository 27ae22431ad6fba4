//! Prometheus's own checker of metrics, alerts and configuration, where it is available.

use crate::{needs, own_process::once_in_run, skipped, target_dir};
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
};

/// The installed `promtool`. If it is missing and tests [may](needs::may_install) install programs, it is extracted
/// from Debian's package, without installing the package.
#[derive(Clone, Debug)]
pub struct Promtool {
    program: PathBuf,
}

impl Promtool {
    /// Finds promtool. If it is missing, reports that the test skips this check.
    pub fn find() -> Option<Self> {
        static FOUND: OnceLock<Option<Promtool>> = OnceLock::new();
        let found = FOUND.get_or_init(|| {
            let works = |program: &Path| {
                Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
            };
            let fetched = fetched();
            let candidates = [PathBuf::from("promtool"), fetched.join("usr/bin/promtool")];
            let there = || candidates.iter().position(|program| works(program));
            let find = || {
                let found = there().or_else(|| {
                    let fetched = needs::may_install() && fetch(&fetched);
                    fetched.then(there).flatten()
                });
                found.map_or_else(String::new, |at| at.to_string())
            };
            let found = once_in_run("promtool", find).parse::<usize>().ok();
            found.map(|at| Self { program: candidates[at].clone() })
        });
        if found.is_none() {
            skipped("promtool is not installed; `apt-get install prometheus` installs it");
        }
        found.clone()
    }

    /// Runs promtool on files.
    ///
    /// # Panics
    ///
    /// If it reports an error.
    pub fn check(&self, what: &[&str], file: &Path) {
        self.judge(Command::new(&self.program).arg("check").args(what).arg(file).output().expect("it runs"));
    }

    /// Checks a page of metrics.
    ///
    /// # Panics
    ///
    /// If it reports an error.
    pub fn check_metrics(&self, page: &str) {
        let mut command = Command::new(&self.program);
        command
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("it runs");
        // This statement closes the pipe at its end, so that promtool sees the end of its input.
        child.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("it reads");
        self.judge(child.wait_with_output().expect("it ends"));
    }

    fn judge(&self, output: Output) {
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(output.status.success(), "promtool reports errors:\n{text}");
    }
}

/// The folder with the unpacked package.
fn fetched() -> PathBuf {
    target_dir().join("promtool")
}

/// Downloads the package from Debian's archive, and unpacks it into this folder only.
fn fetch(folder: &Path) -> bool {
    let run = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).current_dir(folder).stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    };
    if fs::create_dir_all(folder).is_err() {
        return false;
    }
    let _alone = needs::alone_with_apt();
    let download = || run("apt-get", &["download", "prometheus"]);
    // `download` finds no package if there are no package lists.
    let downloaded = download() || (run("apt-get", &["update"]) && download());
    let package = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let package = package.filter(|path| path.extension().is_some_and(|it| it == "deb")).last();
    let Some(package) = package.filter(|_| downloaded) else { return false };
    let unpacked = run("dpkg-deb", &["-x", &package.to_string_lossy(), "."]);
    // A later run must not find this package next to its own.
    unpacked && fs::remove_file(package).is_ok()
}
