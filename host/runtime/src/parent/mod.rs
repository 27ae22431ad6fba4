//! A small process that restarts this program after a crash.
//!
//! A crash of a plugin in the host's process is a crash of the program, and no code of the program runs after it. So
//! the program first becomes a parent, which only waits. The parent runs the program once more, with the same
//! arguments, as its child. The child does the work of the program, with the same standard streams, in the same process
//! group. The child writes into the crash record which plugin runs. If the child crashes, the parent reads the record
//! and starts another child. The host in the new child prevents the same version of the plugin from crashing the
//! program again.
//!
//! * `mod.rs`: distinguishes parent and child, and makes sure that neither outlives the other.
//! * `watch.rs`: waits for the exit of the child, and forwards signals to it.
//! * `asked.rs`: decides when to kill a child that does not exit on request.
//! * `verdict.rs`: decides, after the exit of a child, whether the parent starts another child or exits.
//! * `oom.rs`: detects whether the kernel has killed a process for lack of memory.
//!
//! **Architecture Invariant:** the parent has one thread and opens no plugin. If the child exits and is not restarted,
//! the parent exits with the same status. If the parent exits, the child is killed.

mod asked;
mod oom;
mod verdict;
mod watch;

use crate::{
    load::in_process,
    process_stat::{ProcessStat, ignores},
    registry::crash_record,
};
use asked::Interrupt;
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use std::{
    env, fs,
    io::{self, Write},
    os::fd::{AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
    process,
    str::FromStr,
    sync::OnceLock,
};

/// The environment variable in which a child gets its [`Badge`].
const BADGE: &str = "REPLUG_PARENT";

/// The environment variable with the note that the previous child has left for its successor: see [`carry`].
const CARRIED: &str = "REPLUG_CARRIED";

/// The first byte of the line with this note in the `NOTEBOOK`. All other lines are paths of run folders. These paths
/// are absolute, and so begin with a slash.
const CARRY: u8 = b'=';

/// The notebook: the file in which a child notes the run folders of its hosts, so that the parent finds their crash
/// records. It also contains the note that [`carry`] stores.
static NOTEBOOK: OnceLock<PathBuf> = OnceLock::new();

/// Runs the rest of this program in a child process, and restarts it after a crash. Returns only in the child.
///
/// A program calls this at the beginning of `main`, after `shim::run_if_asked` and before it starts a thread:
///
/// ```no_run
/// # mod replug { pub use replug_runtime::parent; pub mod shim { pub fn run_if_asked() {} } }
/// replug::shim::run_if_asked();
/// replug::parent::supervise();
/// // the program itself
/// ```
///
/// The child is restarted after `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGABRT`, `SIGTRAP` and `SIGSYS`; after an
/// `exit` that a plugin called; after `_exit` while the child had a host; and after a `SIGKILL` from the kernel for
/// lack of memory. In all other cases, the parent exits when the child does: with the child's exit status, or with 128
/// plus the number of the signal that terminated the child. The parent also exits after the fifth crash within a
/// minute. The first crash that is attributed to an artifact does not count.
///
/// If a program returns from `main` or calls `exit` while it has a host, the parent prints a warning, because that may
/// be unintended. A program that calls `_exit` must shut its hosts down first.
///
/// The parent forwards signals that request to exit, to stop or to continue to the child. It does not forward signals
/// from the terminal, because the terminal sends them to the child as well. If the parent is killed, the child is
/// killed, too. A signal that is ignored when the program starts, as `SIGHUP` is under `nohup`, stays ignored.
///
/// If a program gets `SIGTERM`, and within 30 s another `SIGTERM` or a `SIGINT`, the parent enforces the request,
/// because a plugin may have replaced the program's signal handlers: it kills a program that has not exited 5 s after
/// the second signal, or that gets a third one. The parent then exits with 128 plus the number of the last of these
/// signals. If the parent is process 1, as in a container, it also reaps orphaned processes.
///
/// If no parent can be set up, this function prints a warning to standard error, and the program continues without a
/// parent.
pub fn supervise() {
    supervise_with(Interrupt::Anything);
}

/// Like [`supervise`], for a program that treats `SIGINT` as a request to exit, like `SIGTERM`. If such a program does
/// not exit after the first Ctrl-C, the parent kills it 5 s after the second one, or at the third one.
pub fn supervise_until_interrupted() {
    supervise_with(Interrupt::End);
}

/// Whether this process ignores a signal.
#[doc(hidden)]
pub fn is_ignored(signal: i32) -> bool {
    ignores(signal)
}

/// Restores the default action of SIGCHLD in this process, if this process has inherited SIGCHLD as ignored. While
/// SIGCHLD is ignored, a process cannot get the exit status of its children.
#[doc(hidden)]
pub fn restore_sigchld() {
    in_process::restore_sigchld();
}

fn supervise_with(interrupt: Interrupt) {
    let badge = env::var(BADGE).ok().and_then(|text| text.parse::<Badge>().ok());
    match badge.as_ref().map(Badge::standing) {
        Some(Standing::Child) => follow(badge.as_ref()),
        Some(Standing::Orphan) => end_with_parent(),
        Some(Standing::Stranger) | None => match watch::Watch::begin(interrupt) {
            Ok(watch) => process::exit(watch.run()),
            Err(error) => {
                eprintln!("warning: {error}; if a plugin crashes this program, it is not started again");
            }
        },
    }
}

/// Identifies the parent that restarts this process after a crash, for [`supervises`]. `None` without such a parent.
#[doc(hidden)]
pub fn supervisor() -> Option<String> {
    NOTEBOOK.get()?;
    let pid = getppid()?.as_raw_nonzero().get().unsigned_abs();
    ProcessStat::of(pid).map(|parent| format!("{pid} {}", parent.started))
}

/// Whether the parent that [`supervisor`] has identified is running.
#[doc(hidden)]
pub fn supervises(supervisor: &str) -> bool {
    let found = supervisor.split_once(' ').and_then(|(pid, started)| {
        let parent = ProcessStat::of(pid.parse().ok()?)?;
        Some(parent.started == started.parse::<u64>().ok()?)
    });
    found == Some(true)
}

/// Stores a note for the process that replaces this one after a crash. The note is one line, and replaces an earlier
/// note.
#[doc(hidden)]
pub fn carry(text: &str) {
    let Some(notebook) = NOTEBOOK.get() else { return };
    let line = [&[CARRY], text.as_bytes(), b"\n"].concat();
    // If the note cannot be written, the next process gets no note.
    let _ = fs::File::options().append(true).open(notebook).and_then(|mut file| file.write_all(&line));
}

/// The note of the previous process, if it crashed and this process replaces it.
#[doc(hidden)]
pub fn carried() -> Option<String> {
    NOTEBOOK.get().and_then(|_| env::var(CARRIED).ok())
}

/// Notes the run folder of a host, so that the parent, if there is one, finds the crash record in it.
pub fn note_run(run_dir: &Path) {
    let Some(notebook) = NOTEBOOK.get() else { return };
    let line = [run_dir.as_os_str().as_encoded_bytes(), b"\n"].concat();
    let written = fs::File::options().append(true).open(notebook).and_then(|mut file| file.write_all(&line));
    if let Err(error) = written {
        tracing::warn!(
            "cannot report {} to the parent process: {error}; if a plugin crashes this process, the parent cannot \
             name the plugin",
            run_dir.display()
        );
    }
}

/// Becomes the child of the parent that the badge names.
fn follow(badge: Option<&Badge>) {
    let Some(badge) = badge else { return };
    // The kernel sends this signal when the thread that started this process exits. The parent process has only that
    // thread.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("warning: cannot ask the kernel to kill this process when its parent exits: {error}");
    }
    // If the parent exited before this call, the kernel sends no signal.
    if badge.standing() != Standing::Child {
        end_with_parent();
    }
    if badge.memory != NO_MEMORY
        && let Err(error) = take_memory(badge)
    {
        eprintln!("warning: the parent process cannot hold the crash record of this process: {error}");
    }
    // An error means that the path is set already, by an earlier call.
    let _ = NOTEBOOK.set(format!("/proc/{}/fd/{}", badge.parent, badge.notebook).into());
}

fn end_with_parent() -> ! {
    eprintln!("error: the process that started this one has exited");
    process::exit(1)
}

/// Opens the memory that the parent holds for this process's crash record.
fn take_memory(badge: &Badge) -> io::Result<()> {
    let held = format!("/proc/{}/fd/{}", badge.parent, badge.memory);
    crash_record::adopt(fs::File::options().read(true).write(true).open(held)?)
}

/// The data that the parent passes to its child in an environment variable. All processes that the child starts inherit
/// the variable, too, although they are not children of the parent.
#[derive(Debug, PartialEq, Eq)]
struct Badge {
    /// The pid of the parent.
    parent: i32,
    /// The parent's descriptor of the notebook.
    notebook: i32,
    /// The parent's descriptor of the memory for the crash record, or [`NO_MEMORY`].
    memory: i32,
    /// When the badge was made for the child, in hundredths of a second since the system was booted.
    started: u64,
}

/// The value of [`Badge::memory`] if the parent holds no memory.
const NO_MEMORY: i32 = -1;

/// How this process relates to the parent that a badge names.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// The child of that parent.
    Child,
    /// A child of that parent. The parent has exited.
    Orphan,
    /// A process that has inherited the badge from another process.
    Stranger,
}

impl Badge {
    fn issue(notebook: BorrowedFd<'_>, memory: Option<BorrowedFd<'_>>) -> Self {
        Self {
            parent: getpid().as_raw_nonzero().get(),
            notebook: notebook.as_raw_fd(),
            memory: memory.map_or(NO_MEMORY, |memory| memory.as_raw_fd()),
            started: now().unwrap_or_default(),
        }
    }

    fn standing(&self) -> Standing {
        if getppid().map(Pid::as_raw_nonzero).is_some_and(|it| it.get() == self.parent) {
            return Standing::Child;
        }
        let parent_lives = u32::try_from(self.parent).is_ok_and(|parent| ProcessStat::of(parent).is_some());
        let own_age = ProcessStat::of(process::id()).map(|own| own.started.saturating_sub(self.started));
        // The child starts within a second after its badge was made. A process that started later has inherited the
        // badge.
        match own_age {
            Some(age) if !parent_lives && age < 100 => Standing::Orphan,
            _ => Standing::Stranger,
        }
    }

    fn text(&self) -> String {
        format!("{}:{}:{}:{}", self.parent, self.notebook, self.memory, self.started)
    }
}

impl FromStr for Badge {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(4, ':');
        let mut next = || parts.next().ok_or(());
        Ok(Self {
            parent: next()?.parse().map_err(drop)?,
            notebook: next()?.parse().map_err(drop)?,
            memory: next()?.parse().map_err(drop)?,
            started: next()?.parse().map_err(drop)?,
        })
    }
}

/// The time since the system was booted, in hundredths of a second: the unit of start times in `/proc`.
fn now() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    text.split_whitespace().next()?.replace('.', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn an_issued_badge_is_parsed_and_other_text_is_rejected() {
        let file = fs::File::open("/dev/null").unwrap();
        for badge in [Badge::issue(file.as_fd(), None), Badge::issue(file.as_fd(), Some(file.as_fd()))] {
            assert_eq!(badge.text().parse(), Ok(badge));
        }
        for wrong in ["", "1", "1:2:3", "1:2:3:x", "x:2:3:4", "1:2:3:4:5"] {
            assert_eq!(wrong.parse::<Badge>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn a_supervisor_is_found_by_its_pid_and_its_start_time() {
        let own = ProcessStat::of(process::id()).unwrap().started;
        assert!(supervises(&format!("{} {own}", process::id())));
        assert!(
            !supervises(&format!("{} {}", process::id(), own + 1)),
            "it is another process with the same pid"
        );
        assert!(!supervises(&format!("{} {own}", i32::MAX)) && !supervises(""));
    }

    #[test]
    fn a_badge_distinguishes_a_child_an_orphan_and_a_stranger() {
        let parent = getppid().unwrap().as_raw_nonzero().get();
        let gone = i32::MAX;
        let own = ProcessStat::of(process::id()).unwrap().started;
        let standing = |parent, started| Badge { parent, notebook: 3, memory: 4, started }.standing();
        assert_eq!(standing(parent, own), Standing::Child);
        assert_eq!(standing(gone, own), Standing::Orphan);
        assert_eq!(
            standing(gone, own.saturating_sub(1000)),
            Standing::Stranger,
            "the variable was inherited by a process that started later"
        );
        assert_eq!(standing(getpid().as_raw_nonzero().get(), own), Standing::Stranger);
    }

    #[test]
    fn now_is_in_the_unit_of_process_start_times() {
        assert!(ProcessStat::of(process::id()).unwrap().started <= now().unwrap());
    }
}
