//! Finds the processes that a test has started.

use super::Lab;
use crate::wait::poll_within;
use rustix::process::{Pid, getpid};
use std::{env, fs, path::PathBuf};

impl Lab {
    /// Checks that no process of this test is left, other than the test itself.
    ///
    /// # Panics
    ///
    /// If one is left.
    pub fn assert_childless(&self) {
        // A killed process still exists for a moment, and so does a process that another test forks from this program.
        let mut left = Vec::new();
        poll_within(self.leftovers.patience, || {
            left = self.children();
            left.is_empty()
        });
        assert_eq!(left, Vec::<String>::new(), "processes are left");
    }

    /// The processes whose working directory is in this test's folder, or that have opened an artifact in it.
    pub fn children(&self) -> Vec<String> {
        let name = |pid: Pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).replace('\0', " ")
        };
        self.processes().into_iter().map(name).collect()
    }

    /// The pids of those processes.
    pub fn processes(&self) -> Vec<Pid> {
        let here = self.dir().canonicalize().expect("the folder");
        let text = here.to_str().expect("temporary folders have plain names");
        let lives_here = |pid: &Pid| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let works_here = fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&here));
            // Until it executes another program, a child that a test has just forked has the memory of this process,
            // and all its libraries.
            let is_ours = || fs::read_link(process.join("exe")).ok() == env::current_exe().ok();
            works_here
                || !is_ours()
                    && fs::read_to_string(process.join("maps")).is_ok_and(|maps| maps.contains(text))
        };
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = processes.filter_map(|it| Pid::from_raw(it.file_name().to_str()?.parse().ok()?));
        pids.filter(|pid| *pid != getpid()).filter(lives_here).collect()
    }
}
