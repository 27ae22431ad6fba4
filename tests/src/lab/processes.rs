//! Finds the processes that a test has started.

use super::Lab;
use crate::wait::{ProcessEnd, poll_within};
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::{env, fs, path::PathBuf};

impl Lab {
    /// Checks that no process of this test is left, other than the test itself.
    ///
    /// # Panics
    ///
    /// If one is left.
    pub fn assert_childless(&self) {
        // A killed process still exists for a moment, and so does a child that this program has just forked.
        let mut left = Vec::new();
        poll_within(self.leftovers.patience, || {
            left = self.children();
            left.is_empty()
        });
        assert_eq!(left, Vec::<String>::new(), "processes are left");
    }

    /// The process of the test's plugin.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub fn pid(&self) -> Pid {
        let info = self.host().info(&self.id()).expect("the plugin");
        info.process_id.and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("a child process")
    }

    /// Kills the process of the test's plugin, and does not wait for its end.
    ///
    /// # Panics
    ///
    /// If it has none.
    pub fn kill(&self) {
        kill_process(self.pid(), Signal::KILL).expect("it is running");
    }

    /// A pidfd for each process that the test has started, to wait until the process has ended.
    pub fn process_ends(&self) -> Vec<ProcessEnd> {
        self.processes().into_iter().filter_map(ProcessEnd::of).collect()
    }

    /// The command lines of the processes of this test, which [`Lab::processes`] finds.
    pub fn children(&self) -> Vec<String> {
        let name = |pid: Pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).replace('\0', " ")
        };
        self.processes().into_iter().map(name).collect()
    }

    /// The pids of the processes whose working directory is in this test's folder, or that have mapped an artifact in
    /// it.
    pub fn processes(&self) -> Vec<Pid> {
        let here = self.dir().canonicalize().expect("the folder");
        let text = here.to_str().expect("temporary folders have plain names");
        let lives_here = |pid: &Pid| {
            let process = PathBuf::from(format!("/proc/{pid}"));
            // The first thread of a killed process may have ended while others still hold files and locks.
            let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
            let works_here = threads
                .filter_map(|thread| fs::read_link(thread.path().join("cwd")).ok())
                .any(|cwd| cwd.starts_with(&here));
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
