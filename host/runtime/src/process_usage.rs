//! Measures the resources that a plugin's process uses. The values are read from `/proc` on request.

use crate::process_stat::ProcessStat;
use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// The resources that a plugin's process uses at one moment. Processes that the plugin has started count only in
/// `processes`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// The CPU time of all threads since the process was started, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, including pages of mapped files, in bytes.
    pub resident_bytes: u64,
    /// Open descriptors; `None` if they cannot be read.
    pub open_files: Option<u64>,
    /// The number of threads.
    pub threads: u64,
    /// The number of processes, including those that the plugin has started, as its cgroup counts them; `None` without
    /// a cgroup.
    pub processes: Option<u64>,
}

impl ProcessUsage {
    /// The usage of this process; `None` if `/proc` cannot be read.
    pub fn own() -> Option<Self> {
        Self::of(Path::new("/proc/self"), None)
    }

    /// Reads the usage from `folder`, which is `/proc/PID`. `None` if the process has exited, even if it is a zombie.
    pub(crate) fn of(folder: &Path, processes: Option<u64>) -> Option<Self> {
        let stat = ProcessStat::read(folder)?;
        let resident_pages: u64 =
            fs::read_to_string(folder.join("statm")).ok()?.split_whitespace().nth(1)?.parse().ok()?;
        let open_files = fs::read_dir(folder.join("fd")).ok().map(|entries| entries.count() as u64);
        Some(Self {
            cpu_seconds: stat.cpu_ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident_bytes: resident_pages * rustix::param::page_size() as u64,
            open_files,
            threads: stat.threads,
            processes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_threads_memory_and_open_files() {
        let usage = ProcessUsage::of(Path::new("/proc/self"), None).unwrap();
        assert!(usage.threads >= 1 && usage.resident_bytes > 1 << 20, "{usage:?}");
        assert!(usage.open_files >= Some(3) && usage.cpu_seconds >= 0.0, "{usage:?}");
    }

    #[test]
    fn ticks_and_pages_become_seconds_and_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let stat = "7 (a) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 99 1 1";
        fs::write(dir.path().join("stat"), stat).unwrap();
        fs::write(dir.path().join("statm"), "100 2 1 1 0 1 0").unwrap();
        let usage = ProcessUsage::of(dir.path(), Some(2)).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((usage.cpu_seconds, usage.threads, usage.processes), (200.0 / ticks, 3, Some(2)));
        assert_eq!(usage.resident_bytes, 2 * rustix::param::page_size() as u64);
        assert_eq!(usage.open_files, None);
    }
}
