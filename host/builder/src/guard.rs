//! Kills the builds that are still running when the program exits, even if the program was killed by SIGKILL.
//!
//! A program that was killed cannot kill its builds, and a build is in a process group of its own, which no signal from
//! a terminal reaches. So before its first build, the program starts a *guard*: a second process of the same program,
//! also in a process group of its own. The guard waits for end of file on a pipe that only the program can write to.
//! The standard input of every build is the read end of a second pipe, which stays empty. The guard has a copy of this
//! read end, the *mark*, and recognizes a build by its standard input. When the program has exited, the guard kills all
//! processes whose standard input is the mark, and all processes in their groups.
//!
//! The builds are not children of the guard. So other processes reap them, and the kernel may reuse their process ids
//! and group ids. Therefore the guard kills by pidfd only. After the guard has looked up data by process id, it checks
//! with the pidfd that the process still exists. If not, the guard ignores the data. The guard trusts a group id only
//! while the group contains a build process that the guard has suspended with SIGSTOP.
//!
//! There is no guard if the program has not called [`guarded_by`]. A process of a build that does not have the
//! mark is killed only if it is in the group of a process that has it.

use crate::lock_file;
use parking_lot::Mutex;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    env, fs,
    io::{self, PipeReader},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
};

/// The first argument of a guard process.
pub const MARKER: &str = "__replug-guard";

/// The program that becomes a guard when it is run with the marker.
static PROGRAM: Mutex<Option<PathBuf>> = Mutex::new(None);

static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

struct Guard {
    /// The guard process. It reaches the end of its input when this program exits.
    _process: Child,
    /// The mark: the read end of the pipe that is the standard input of every build.
    mark: PipeReader,
}

/// Sets the program that becomes the guard. When the calling program exits, the guard kills the builds that were
/// started after this call. `program` must call `run_if_asked` first in its `main`.
pub fn guarded_by(program: &Path) {
    *PROGRAM.lock() = Some(program.to_owned());
}

/// The standard input for a build: the pipe by which the guard recognizes builds, or `/dev/null` without a guard.
pub(crate) fn marked_input() -> Stdio {
    let mut guard = GUARD.lock();
    if guard.is_none() {
        *guard = PROGRAM.lock().as_deref().and_then(|program| start(program).ok());
    }
    let mark = guard.as_ref().and_then(|guard| guard.mark.try_clone().ok());
    mark.map_or_else(Stdio::null, Stdio::from)
}

fn start(program: &Path) -> io::Result<Guard> {
    let (mark, _) = io::pipe()?;
    let mut command = Command::new(program);
    // The guard does not inherit this program's output, so that a reader of the output gets end of file when the
    // program exits.
    command.arg(MARKER).stdin(Stdio::piped()).stdout(mark.try_clone()?).stderr(Stdio::null());
    Ok(Guard { _process: command.process_group(0).spawn()?, mark })
}

/// Runs the guard process. It has inherited the mark as its standard output.
pub fn run() -> ! {
    // If the guard stayed in its working folder, the folder's file system could not be unmounted.
    let _ = env::set_current_dir("/");
    // The program writes nothing to this pipe. End of file, or an error, means that the program has exited.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    let Ok(mark) = fs::read_link("/proc/self/fd/1") else { process::exit(1) };
    end_all(&mark);
    process::exit(0)
}

/// Kills the processes whose standard input is `mark`, and all processes in their groups.
fn end_all(mark: &Path) {
    // The second round finds processes that were being started during the first round.
    for _ in 0..2 {
        for marked in processes().into_iter().filter_map(|pid| Marked::hold(pid, mark)) {
            marked.end_group();
            kill(&marked.process);
        }
    }
}

/// The ids of all processes.
fn processes() -> Vec<Pid> {
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    listed.filter_map(|it| Pid::from_raw(it.file_name().to_str()?.parse().ok()?)).collect()
}

/// The process group of the process with this id. `None` if the process has exited or is exiting, is a kernel thread,
/// or belongs to a group outside of this pid namespace.
fn group_of(pid: Pid) -> Option<Pid> {
    group_in(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?)
}

/// The process group in the text of `/proc/PID/stat`.
fn group_in(text: &str) -> Option<Pid> {
    /// The kernel's `PF_EXITING`.
    const EXITING: u64 = 0x4;
    // The name in parentheses may contain any character. The fields after it are the state, the parent, the group,
    // three others, and the flags.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let flags: u64 = fields.get(6)?.parse().ok()?;
    let lives = !matches!(*fields.first()?, "Z" | "X") && flags & EXITING == 0;
    // The kernel writes -1 if the process was reaped while the file was read. `Pid::from_raw` panics for such a number.
    let group: u32 = fields.get(2)?.parse().ok()?;
    Pid::from_raw(group.try_into().ok()?).filter(|_| lives)
}

/// The processes of this group.
pub(crate) fn members(group: Pid) -> Vec<Pid> {
    processes().into_iter().filter(|pid| group_of(*pid) == Some(group)).collect()
}

/// A pidfd of the process with this id, which stays valid if the id is reused.
fn hold(pid: Pid) -> Option<OwnedFd> {
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Suspends a process while it does not write a `Cargo.lock`.
fn suspend(process: &OwnedFd, pid: Pid) {
    let send = |signal| {
        // An error means that the process no longer exists.
        let _ = pidfd_send_signal(process, signal);
    };
    lock_file::suspend_between_writes(send, || vec![pid]);
}

fn kill(process: &OwnedFd) {
    // An error means that the process no longer exists.
    let _ = pidfd_send_signal(process, Signal::KILL);
}

/// A build process that the guard has suspended with SIGSTOP. A suspended process cannot exit by itself, so its group
/// id is not reused.
struct Marked {
    pid: Pid,
    process: OwnedFd,
    group: Pid,
}

impl Marked {
    /// Suspends the process with this id, if its standard input is `mark`.
    fn hold(pid: Pid, mark: &Path) -> Option<Self> {
        let process = hold(pid)?;
        let input = fs::read_link(format!("/proc/{}/fd/0", pid.as_raw_pid())).ok()?;
        let marked = Self { pid, process, group: group_of(pid).filter(|_| input == mark)? };
        suspend(&marked.process, pid);
        marked.stop().then_some(marked)
    }

    /// Suspends the process, and returns whether it exists.
    fn stop(&self) -> bool {
        pidfd_send_signal(&self.process, Signal::STOP).is_ok()
    }

    /// Kills the other processes in the group.
    fn end_group(&self) {
        /// The maximum number of rounds. More than one round is needed if a process starts another before it is killed.
        const ROUNDS: usize = 100;
        /// How long to wait until a killed process has exited. A process that takes longer is blocked in the kernel,
        /// for example by a device.
        const EXIT_TIMEOUT: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
        for _ in 0..ROUNDS {
            let others: Vec<_> = processes().into_iter().filter_map(|pid| self.hold_other(pid)).collect();
            if others.is_empty() {
                return;
            }
            for (pid, other) in &others {
                suspend(other, *pid);
                kill(other);
            }
            for (_, other) in &others {
                // If this fails, the next round begins too early and kills the process again, which does no harm.
                let _ = poll(&mut [PollFd::new(other, PollFlags::IN)], Some(&EXIT_TIMEOUT));
            }
        }
    }

    /// The process with this id, if it is alive, is in the group, and is not the build process itself.
    fn hold_other(&self, pid: Pid) -> Option<(Pid, OwnedFd)> {
        let other = hold(pid).filter(|_| pid != self.pid)?;
        let is_in_group = |pid| group_of(pid) == Some(self.group);
        // The group of `pid` is read first. If the marked process is still in the group afterwards, the group id was
        // not reused in between.
        (is_in_group(pid) && is_in_group(self.pid) && self.stop()).then_some((pid, other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{BufRead, BufReader},
        os::{fd::AsRawFd, unix::process::ExitStatusExt},
    };

    /// A process group of two processes. Only the leader has the mark as its standard input.
    struct Build {
        leader: Child,
        other: Pid,
        mark: PathBuf,
        _input: PipeReader,
    }

    impl Build {
        fn start() -> Self {
            let (input, _) = io::pipe().unwrap();
            let mark = fs::read_link(format!("/proc/self/fd/{}", input.as_raw_fd())).unwrap();
            let mut leader = Command::new("sh");
            leader.args(["-c", "sleep 100000 </dev/null >/dev/null & echo $!; wait"]).process_group(0);
            leader.stdin(input.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::null());
            let mut leader = leader.spawn().unwrap();
            let mut number = String::new();
            BufReader::new(leader.stdout.take().unwrap()).read_line(&mut number).unwrap();
            let other = Pid::from_raw(number.trim().parse().unwrap()).unwrap();
            Self { leader, other, mark, _input: input }
        }
    }

    fn ends(process: &OwnedFd) -> bool {
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&patience)).unwrap() == 1
    }

    #[test]
    fn only_a_process_that_lives_has_a_group() {
        let group = |state, group, flags| group_in(&format!("7 (a) b) {state} 1 {group} 1 0 -1 {flags} 0"));
        assert_eq!(group("S", "5", "4194304"), Pid::from_raw(5));
        for (state, of, flags) in
            [("Z", "5", "4194304"), ("R", "5", "4194308"), ("S", "0", "2129984"), ("R", "-1", "4194304")]
        {
            assert_eq!(group(state, of, flags), None, "{state} {of} {flags}");
        }
    }

    #[test]
    fn end_all_kills_only_the_process_groups_with_the_mark() {
        let (mut build, mut another) = (Build::start(), Build::start());
        let other = hold(build.other).unwrap();
        end_all(&build.mark);
        assert!(ends(&other));
        assert_eq!(build.leader.wait().unwrap().signal(), Some(9));
        assert!(another.leader.try_wait().unwrap().is_none());
        let others = hold(another.other).unwrap();
        end_all(&another.mark);
        assert!(ends(&others));
        another.leader.wait().unwrap();
    }

    #[test]
    fn a_killed_process_completes_its_write_of_the_lock_file() {
        let folder = tempfile::tempdir().unwrap();
        let (input, _) = io::pipe().unwrap();
        let mark = fs::read_link(format!("/proc/self/fd/{}", input.as_raw_fd())).unwrap();
        // The shell writes only after it has been continued, so it writes only if it was suspended during the write.
        // Without the inner `trap`, the shell could write twice: it may be continued again during the write.
        let script = "trap 'trap \"\" CONT; echo whole >&3; exec 3>&-' CONT; exec 3>Cargo.lock; echo open; while :; do sleep 0.01; done";
        let mut leader = Command::new("sh");
        leader.args(["-c", script]).current_dir(folder.path()).process_group(0);
        let mut leader = leader.stdin(input).stdout(Stdio::piped()).spawn().unwrap();
        BufReader::new(leader.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
        end_all(&mark);
        assert_eq!(leader.wait().unwrap().signal(), Some(9));
        assert_eq!(fs::read_to_string(folder.path().join("Cargo.lock")).unwrap(), "whole\n");
    }

    #[test]
    fn a_process_group_without_a_marked_process_is_not_killed() {
        let mut build = Build::start();
        let pid = Pid::from_child(&build.leader);
        let marked = Marked::hold(pid, &build.mark).unwrap();
        assert!(marked.hold_other(build.other).is_some());
        build.leader.kill().unwrap();
        build.leader.wait().unwrap();
        // After the leader has been reaped, the kernel could give the group id to another group.
        assert_eq!(group_of(build.other), Some(pid));
        assert!(marked.hold_other(build.other).is_none());
        marked.end_group();
        assert_eq!(group_of(build.other), Some(pid), "the process still runs");
        kill(&hold(build.other).unwrap());
    }
}
