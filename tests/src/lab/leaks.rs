//! Finds what a test must not leave behind: processes, copies of artifacts, half-written files, and sockets.

use super::Lab;
use crate::wait::poll_within;
use std::{
    fs,
    os::unix::fs::FileTypeExt,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// What a host may leave in its state folder.
const STATE: [&str; 10] = [
    ".gitignore",
    "artifacts",
    "build",
    "checkpoints",
    "data",
    "demoted",
    "hosts",
    "http-token",
    "plugins",
    "run",
];

/// The folders, in the test's folder, of the hosts' sockets: `replug` is the default place, because `XDG_RUNTIME_DIR`
/// is the test's folder; `run` is the place that tests configure.
const SOCKETS: [&str; 2] = ["replug", "run"];

/// Which leftovers of a test are allowed, and for how long.
#[derive(Debug)]
pub(super) struct Leftovers {
    files: AtomicBool,
    /// How long leftovers may exist after the test. A killed process still exists for a moment. The sweeper, a process
    /// that removes the socket of a killed host, needs some time, too.
    pub(super) patience: Duration,
}

impl Default for Leftovers {
    fn default() -> Self {
        Self { files: AtomicBool::new(false), patience: Duration::from_secs(20) }
    }
}

impl Lab {
    /// Allows the files that a killed host of this test leaves, because the next host would remove them. Processes and
    /// sockets must not be left even then.
    pub fn expect_leftover_files(&self) {
        self.leftovers.files.store(true, Ordering::Relaxed);
    }

    /// Checks that nothing is left behind. All hosts of this test must have ended, because what a running host uses
    /// would count, too. The end of the test checks this, too.
    ///
    /// # Panics
    ///
    /// If something is left.
    pub fn assert_clean(&self) {
        let leaks = self.leaks();
        assert!(leaks.is_empty(), "the test of `{}` leaves behind: {}", self.name, leaks.join("; "));
    }

    /// What the test leaves behind.
    pub(super) fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        poll_within(self.leftovers.patience, || {
            leaks = self.leaks_now();
            leaks.is_empty()
        });
        leaks
    }

    fn leaks_now(&self) -> Vec<String> {
        let mut leaks: Vec<_> = self.children().into_iter().map(|it| format!("the process `{it}`")).collect();
        let sockets = SOCKETS.iter().flat_map(|dir| fs::read_dir(self.dir().join(dir))).flatten().flatten();
        let sockets = sockets.filter(|it| it.file_type().is_ok_and(|kind| kind.is_socket()));
        leaks.extend(sockets.map(|it| format!("the socket {}", it.path().display())));
        if !self.leftovers.files.load(Ordering::Relaxed) {
            leaks.extend(self.leftover_files().iter().map(|path| format!("the file {}", path.display())));
        }
        leaks
    }

    /// Files that a host should have removed when it shut down.
    fn leftover_files(&self) -> Vec<PathBuf> {
        let entries = |dir: &str| {
            let entries = fs::read_dir(self.state_dir().join(dir)).into_iter().flatten().flatten();
            entries.map(|it| (it.path(), it.file_name().to_string_lossy().into_owned()))
        };
        let copies = entries("run");
        let half_written = ["artifacts", "artifacts/libraries"]
            .into_iter()
            .flat_map(entries)
            .filter(|(_, name)| name.starts_with('.'));
        let foreign = entries("").filter(|(_, name)| !STATE.contains(&name.as_str()));
        copies.chain(half_written).chain(foreign).map(|(path, _)| path).collect()
    }
}
