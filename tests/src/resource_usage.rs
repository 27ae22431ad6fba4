//! The resources that this process uses.

use anyhow::{Context, Result};
use replug_runtime::load::in_process::tls_keys_used;
use std::{env, fs, os::unix::process::CommandExt, process::Command};

/// The resources that the process uses at one moment.
#[derive(Clone, Copy, Debug)]
pub struct ResourceUsage {
    /// Thread-local keys in use, of the 1,024 keys of a process.
    pub tls_keys: usize,
    /// Open descriptors.
    pub descriptors: usize,
    /// Resident memory, including pages of mapped files, which the system may reclaim.
    pub resident_kib: u64,
    /// Anonymous memory: written pages, relocated pages, the heap. The system can discard pages of files, but not this memory.
    pub private_kib: u64,
}

impl ResourceUsage {
    /// Reads `/proc/self/smaps_rollup` and `/proc/self/fd`.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    pub fn now() -> Result<Self> {
        let path = "/proc/self/smaps_rollup";
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok());
            kib.with_context(|| format!("{path} has no `{name}`"))
        };
        Ok(Self {
            tls_keys: tls_keys_used(),
            // Each count includes the descriptor through which this folder is read.
            descriptors: fs::read_dir("/proc/self/fd")?.count(),
            resident_kib: field("Rss:")?,
            private_kib: field("Anonymous:")?,
        })
    }
}

/// Runs the program again with a limit on malloc's arenas, unless there is a limit already. The test programs `kill`
/// and `soak` look for leaks. glibc gives a new thread its own arena until there are several for each CPU, and never
/// frees an arena. Without the limit, the growing arenas would look like a leak.
///
/// # Errors
///
/// If the program cannot be run again.
pub fn with_few_arenas() -> Result<()> {
    const ARENAS: &str = "MALLOC_ARENA_MAX";
    if env::var_os(ARENAS).is_some() {
        return Ok(());
    }
    let error = Command::new(env::current_exe()?).args(env::args_os().skip(1)).env(ARENAS, "2").exec();
    Err(error).context("cannot run the program again")
}
