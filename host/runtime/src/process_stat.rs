//! The state of a process, as the kernel reports it in `/proc/PID/stat`.

use std::{fs, path::Path};

/// The state of a living process. A zombie, and a process that is exiting, do not count as living.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// The start time, in clock ticks since the system was booted. It distinguishes a process from a later process
    /// with the same pid.
    pub(crate) started: u64,
    /// The CPU time of all threads, in clock ticks.
    pub(crate) cpu_ticks: u64,
    /// The number of threads.
    pub(crate) threads: u64,
}

impl ProcessStat {
    /// The state of the living process with that pid, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        Self::read(&Path::new("/proc").join(pid.to_string()))
    }

    /// Reads the state of a process from `folder`, which is `/proc/PID`.
    pub(crate) fn read(folder: &Path) -> Option<Self> {
        /// The kernel's `PF_EXITING`.
        const EXITING: u64 = 0x4;
        let text = fs::read_to_string(folder.join("stat")).ok()?;
        // The second field is the program's name in parentheses, which may contain any characters. So the fields are
        // counted from the third one, the state, after the last parenthesis.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        if matches!(*fields.first()?, "Z" | "X") || field(9)? & EXITING != 0 {
            return None;
        }
        Some(Self { started: field(22)?, cpu_ticks: field(14)? + field(15)?, threads: field(20)? })
    }
}

/// Whether this process ignores a signal. For example, `nohup` makes its program ignore SIGHUP, and a shell script
/// makes its background programs ignore SIGINT.
pub(crate) fn ignores(signal: i32) -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| is_in(&status, signal))
}

fn is_in(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = u32::try_from(signal - 1).ok().and_then(|bit| 1_u64.checked_shl(bit));
    mask.zip(bit).is_some_and(|(mask, bit)| mask & bit != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{self, Command, Stdio};

    #[test]
    fn this_process_lives_and_its_child_was_started_after_it() {
        let own = ProcessStat::of(process::id()).unwrap();
        assert!(own.threads >= 1, "{own:?}");
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stat = ProcessStat::of(child.id()).unwrap();
        assert!(stat.started >= own.started, "{stat:?} {own:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[test]
    fn a_zombie_has_no_process_stat() {
        let mut child = Command::new("true").stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let exited = rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::waitid(rustix::process::WaitId::Pid(pid), exited).unwrap();
        assert_eq!(ProcessStat::of(child.id()), None);
        child.wait().unwrap();
        assert_eq!(ProcessStat::of(child.id()), None);
    }

    #[test]
    fn an_exiting_process_has_no_process_stat() {
        let dir = tempfile::tempdir().unwrap();
        let stat = |flags| format!("7 (a) S 1 7 7 0 -1 {flags} 1 0 0 0 150 50 0 0 20 0 3 0 99 1 1");
        fs::write(dir.path().join("stat"), stat(0x40_0000)).unwrap();
        assert_eq!(
            ProcessStat::read(dir.path()),
            Some(ProcessStat { started: 99, cpu_ticks: 200, threads: 3 })
        );
        fs::write(dir.path().join("stat"), stat(0x40_0004)).unwrap();
        assert_eq!(ProcessStat::read(dir.path()), None);
    }

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let dir = tempfile::tempdir().unwrap();
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 3 0 99 1 1";
        fs::write(dir.path().join("stat"), stat).unwrap();
        assert_eq!(
            ProcessStat::read(dir.path()),
            Some(ProcessStat { started: 99, cpu_ticks: 200, threads: 3 })
        );
    }

    #[test]
    fn an_ignored_signal_is_a_bit_of_the_kernels_mask() {
        let status = "SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000004002\n";
        let ignored: Vec<i32> = (-1..=65).filter(|signal| is_in(status, *signal)).collect();
        assert_eq!(ignored, [libc::SIGHUP, libc::SIGPIPE]);
        // Rust programs ignore SIGPIPE.
        assert!(ignores(libc::SIGPIPE) && !ignores(libc::SIGSEGV));
    }
}
