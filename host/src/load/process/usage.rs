//! What a plugin's process takes of the machine, read from `/proc` when someone asks.

use serde::{Deserialize, Serialize};
use std::{fs, path::Path};

/// What a plugin's process takes at one moment. What it has started is not in it, but for `processes`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessUsage {
    /// Time on a processor since it began, of all its threads, in seconds.
    pub cpu_seconds: f64,
    /// Memory that it has in use, the pages of mapped files included, in bytes.
    pub resident_bytes: u64,
    /// Descriptors that it has open; none if they are not to be seen.
    pub open_files: Option<u64>,
    /// Its threads.
    pub threads: u64,
    /// It and the processes that it has started; none without a cgroup, which counts them.
    pub processes: Option<u64>,
}

impl ProcessUsage {
    /// Of this process.
    pub(crate) fn own() -> Option<Self> {
        Self::of(Path::new("/proc/self"), None)
    }

    /// Reads `/proc/PID`, given as a folder; none if that process has ended, reaped or not.
    pub(super) fn of(folder: &Path, processes: Option<u64>) -> Option<Self> {
        let stat = fs::read_to_string(folder.join("stat")).ok()?;
        // The name in parentheses may hold anything. After it: state, and the fields from the fourth on.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        if matches!(fields.first(), Some(&("Z" | "X"))) {
            return None;
        }
        let (user, system) = (field(14)?, field(15)?);
        let resident_pages: u64 =
            fs::read_to_string(folder.join("statm")).ok()?.split_whitespace().nth(1)?.parse().ok()?;
        let open_files = fs::read_dir(folder.join("fd")).ok().map(|entries| entries.count() as u64);
        Some(Self {
            cpu_seconds: (user + system) as f64 / rustix::param::clock_ticks_per_second() as f64,
            resident_bytes: resident_pages * rustix::param::page_size() as u64,
            open_files,
            threads: field(20)?,
            processes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn this_process_has_threads_memory_and_open_files() {
        let usage = ProcessUsage::of(Path::new("/proc/self"), None).unwrap();
        assert!(usage.threads >= 1 && usage.resident_bytes > 1 << 20, "{usage:?}");
        assert!(usage.open_files >= Some(3) && usage.cpu_seconds >= 0.0, "{usage:?}");
    }

    #[test]
    fn a_process_that_has_ended_takes_nothing() {
        let mut child = Command::new("true").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let folder = format!("/proc/{}", child.id());
        // Until it is reaped, it is still there.
        let exited = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), exited).unwrap();
        assert_eq!(ProcessUsage::of(Path::new(&folder), None), None);
        child.wait().unwrap();
        assert_eq!(ProcessUsage::of(Path::new(&folder), None), None);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let dir = tempfile::tempdir().unwrap();
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 99 1 1";
        fs::write(dir.path().join("stat"), stat).unwrap();
        fs::write(dir.path().join("statm"), "100 2 1 1 0 1 0").unwrap();
        let usage = ProcessUsage::of(dir.path(), Some(2)).unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert_eq!((usage.cpu_seconds, usage.threads, usage.processes), (200.0 / ticks, 3, Some(2)));
        assert_eq!(usage.resident_bytes, 2 * rustix::param::page_size() as u64);
        assert_eq!(usage.open_files, None);
    }
}
