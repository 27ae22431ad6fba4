//! Determines whether a process has the marks of a plugin's process, which `lineage.rs` describes. The control plane
//! rejects requests from such processes.

use super::below;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{Pid, PidfdFlags, Resource, getpid, getrlimit, pidfd_open},
    thread::no_new_privs,
};
use std::{fs, io, path::Path, sync::OnceLock};

/// How a process relates to this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A process of a plugin, or a descendant of such a process.
    Plugin,
    /// Any other process.
    Elsewhere,
}

/// The marks of the processes that run this host's plugins, and of their descendants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    /// The hard `RLIMIT_RSS` that a shim sets; `None` if the host's own limit is 0, because no lower limit exists.
    limit: Option<u64>,
    /// Whether this host itself has `no_new_privs`, which all processes that it starts inherit.
    host_has_no_new_privs: bool,
}

impl Marks {
    fn own() -> Self {
        let limit = below(getrlimit(Resource::Rss).maximum);
        // An error means that the kernel does not support `no_new_privs`. Then no process has it.
        Self { limit, host_has_no_new_privs: no_new_privs().unwrap_or(false) }
    }

    fn judge(self, process: Facts) -> Origin {
        let by_limit = match self.limit {
            Some(mark) => process.hard_limit.is_some_and(|hard| hard <= mark),
            None => !self.host_has_no_new_privs,
        };
        if by_limit && process.no_new_privs { Origin::Plugin } else { Origin::Elsewhere }
    }
}

/// What the kernel reports about a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    /// The hard `RLIMIT_RSS`; `None` if it is unlimited.
    hard_limit: Option<u64>,
    no_new_privs: bool,
}

impl Facts {
    /// Reads the facts about a process from the folder `process`, which is `/proc/PID`.
    fn read(process: &Path) -> io::Result<Self> {
        let missing = |what: &str| {
            let text = format!("{} does not contain `{what}`", process.display());
            io::Error::new(io::ErrorKind::Unsupported, text)
        };
        let limits = fs::read_to_string(process.join("limits"))?;
        let line = limits.lines().find_map(|line| line.strip_prefix("Max resident set"));
        // The columns are the soft limit and the hard limit.
        let hard = line.and_then(|line| line.split_whitespace().nth(1));
        let hard_limit = match hard.ok_or_else(|| missing("Max resident set"))? {
            "unlimited" => None,
            number => Some(number.parse().map_err(|_| missing("Max resident set"))?),
        };
        let status = fs::read_to_string(process.join("status"))?;
        let flag = status.lines().find_map(|line| line.strip_prefix("NoNewPrivs:"));
        let flag = flag.ok_or_else(|| missing("NoNewPrivs"))?;
        Ok(Self { hard_limit, no_new_privs: flag.trim() == "1" })
    }
}

/// Determines whether the process with that pid comes from a plugin.
///
/// # Errors
///
/// * An error of the kind `NotFound` if the process has exited.
/// * Any other error if the kernel does not report the limit and the flag of the process.
pub fn origin(pid: Pid) -> io::Result<Origin> {
    if pid == getpid() {
        return Ok(Origin::Elsewhere);
    }
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Err(ended()),
        Err(error) => return Err(error.into()),
    };
    let facts = Facts::read(Path::new(&format!("/proc/{pid}")));
    // The kernel reuses the pid only after the process has exited. So, if the process is still alive now, the facts
    // that were read are its own.
    let mut end = [PollFd::new(&process, PollFlags::IN)];
    if poll(&mut end, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0 {
        return Err(ended());
    }
    // Read once, because a plugin in this process could lower its limit later.
    static OWN: OnceLock<Marks> = OnceLock::new();
    Ok(OWN.get_or_init(Marks::own).judge(facts?))
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the process has exited")
}

#[cfg(test)]
mod tests {
    use super::{super::MARK, *};
    use std::process::{Command, Stdio};

    const UNLIMITED: Marks = Marks { limit: Some(MARK), host_has_no_new_privs: false };

    fn process(hard_limit: Option<u64>, no_new_privs: bool) -> Facts {
        Facts { hard_limit, no_new_privs }
    }

    #[test]
    fn a_process_counts_as_a_plugins_only_with_both_marks() {
        assert_eq!(UNLIMITED.judge(process(Some(MARK), true)), Origin::Plugin);
        assert_eq!(
            UNLIMITED.judge(process(Some(4096), true)),
            Origin::Plugin,
            "a process that has lowered its limit is still marked"
        );
        for other in [process(None, true), process(Some(MARK), false), process(Some(MARK + 1), true)] {
            assert_eq!(UNLIMITED.judge(other), Origin::Elsewhere, "{other:?}");
        }
    }

    #[test]
    fn a_host_in_a_marked_process_distinguishes_its_own_plugins() {
        let nested = Marks { limit: below(Some(MARK)), host_has_no_new_privs: true };
        assert_eq!(nested.judge(process(Some(MARK - 1), true)), Origin::Plugin);
        assert_eq!(nested.judge(process(Some(MARK), true)), Origin::Elsewhere);
    }

    #[test]
    fn a_host_with_the_lowest_limit_decides_by_no_new_privs_alone() {
        assert_eq!((below(Some(0)), below(Some(8)), below(None)), (None, Some(7), Some(MARK)));
        let lowest = Marks { limit: None, host_has_no_new_privs: false };
        assert_eq!(lowest.judge(process(Some(0), true)), Origin::Plugin);
        let undecidable = Marks { limit: None, host_has_no_new_privs: true };
        assert_eq!(undecidable.judge(process(Some(0), true)), Origin::Elsewhere);
    }

    #[test]
    fn an_unmarked_process_is_from_elsewhere_and_an_exited_one_unknown() {
        let mut cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&cat);
        assert_eq!(origin(pid).unwrap(), Origin::Elsewhere);
        drop(cat.stdin.take());
        cat.wait().unwrap();
        assert_eq!(origin(pid).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
