//! A small process that starts this program again when a crash has ended it.
//!
//! In process, a crash of a plugin is a crash of the program, and no code in it can react any more. So the program
//! first becomes a parent that only waits. It runs itself once more, with the same arguments, as its child. The
//! child is the program proper, with the same standard streams, in the same process group. The child writes into
//! the crash record which plugin runs. If the child crashes, the parent reads the record and starts another child.
//! The host in that child takes care that the culprit does not crash it again.
//!
//! * `mod.rs`: distinguishes parent and child, and takes care that neither outlives the other.
//! * `watch.rs`: waits for the end of the child, and forwards signals to it.
//! * `asked.rs`: decides when to kill a child that was asked to end and does not.
//! * `verdict.rs`: decides what follows the end of a child: another child, or the end of the parent.
//! * `oom.rs`: detects whether the kernel has killed a process for lack of memory.
//!
//! **Architecture Invariant:** the parent has one thread and opens no plugin. If the child ends for good, the
//! parent ends with the same status. If the parent ends, so does the child.

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

/// The environment variable that tells a child which process is its parent.
const BADGE: &str = "REPLUG_PARENT";

/// The environment variable with the note of a child for its successor.
const CARRIED: &str = "REPLUG_CARRIED";

/// The prefix of such a note in the notebook. Every other line is a run folder, and no absolute path begins with this.
const CARRY: u8 = b'=';

/// The file in which a child notes the run folders of its hosts, so that its parent finds their crash records.
static NOTEBOOK: OnceLock<PathBuf> = OnceLock::new();

/// Runs the rest of this program in a child process, and starts that again after a crash. Returns only in the
/// child.
///
/// A program calls this at the beginning of `main`, after `shim::run_if_asked` and before it starts a thread:
///
/// ```no_run
/// # mod replug { pub use replug_runtime::parent; pub mod shim { pub fn run_if_asked() {} } }
/// replug::shim::run_if_asked();
/// replug::parent::keep();
/// // the program itself
/// ```
///
/// The child is started again after `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGABRT`, `SIGTRAP` and `SIGSYS`;
/// after an `exit` that a plugin called; after `_exit` while it had a host; and after a `SIGKILL` from the kernel
/// for lack of memory. After any other end of the child, the parent ends, too, with the child's exit status, or 128
/// plus the number of the signal. The parent also ends after the fifth crash within a minute that cannot be
/// attributed to a plugin.
///
/// A program may return from `main` or call `exit` while it has a host. The parent then prints a warning, because
/// that may be unintended. A program that wants to end by `_exit` shuts its hosts down first.
///
/// Signals that ask the parent to end, to stop or to continue are forwarded to the child. Signals from the terminal are
/// not, because the terminal sends them to the child as well. If the parent is killed, so is the child. A signal that
/// is ignored, as `SIGHUP` is under `nohup`, stays ignored.
///
/// If a program gets `SIGTERM`, and another one or a `SIGINT` within 30 s, the parent kills it if it has not ended 5 s
/// after the second signal, or when a third comes: a plugin may have replaced the program's signal handlers. The parent
/// then ends with 128 plus the number of the last of these signals. As process 1, as in a container, the parent reaps
/// orphaned processes.
///
/// If no parent can be set up, this prints a warning to standard error, and the program continues without one.
pub fn keep() {
    keep_as(Interrupt::Anything);
}

/// Like [`keep`], for a program that takes `SIGINT` as a request to end, as it takes `SIGTERM`. If such a program does
/// not end at the first Ctrl-C, the parent kills it 5 s after the second one, or at once at the third.
pub fn keep_until_interrupted() {
    keep_as(Interrupt::End);
}

/// Whether this process ignores a signal.
#[doc(hidden)]
pub fn is_ignored(signal: i32) -> bool {
    ignores(signal)
}

/// Restores the default action of SIGCHLD in this process, if the process that started it had it ignored. If
/// SIGCHLD is ignored, a process cannot get the exit status of its children.
#[doc(hidden)]
pub fn heed_children() {
    in_process::heed_children();
}

fn keep_as(interrupt: Interrupt) {
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

/// Stores a note, on one line, for the process that replaces this one after a crash. It replaces an earlier note.
#[doc(hidden)]
pub fn carry(text: &str) {
    let Some(notebook) = NOTEBOOK.get() else { return };
    let line = [&[CARRY], text.as_bytes(), b"\n"].concat();
    // If the note cannot be written, none is handed over.
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
            "cannot report {} to the parent process: {error}; it will not know which plugin has crashed this process",
            run_dir.display()
        );
    }
}

/// Becomes the child of the parent that the badge names.
fn follow(badge: Option<&Badge>) {
    let Some(badge) = badge else { return };
    // For the kernel, the parent is the thread that started this process. The parent process has only one thread.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("warning: cannot ask the kernel to kill this process when its parent ends: {error}");
    }
    // If the parent ended before this call, the kernel does not report its end.
    if badge.standing() != Standing::Child {
        end_with_parent();
    }
    if badge.memory != NO_MEMORY
        && let Err(error) = take_memory(badge)
    {
        eprintln!("warning: the parent process cannot hold the crash record of this process: {error}");
    }
    // `keep` may be called twice.
    let _ = NOTEBOOK.set(format!("/proc/{}/fd/{}", badge.parent, badge.notebook).into());
}

fn end_with_parent() -> ! {
    eprintln!("error: the process that started this one is gone");
    process::exit(1)
}

/// Takes the memory that the parent holds for this process's crash record.
fn take_memory(badge: &Badge) -> io::Result<()> {
    let held = format!("/proc/{}/fd/{}", badge.parent, badge.memory);
    crash_record::adopt(fs::File::options().read(true).write(true).open(held)?)
}

/// What the parent tells a child when it starts it. All processes that the child starts inherit the badge, although
/// they are not children of that parent.
#[derive(Debug, PartialEq, Eq)]
struct Badge {
    parent: i32,
    /// The parent's descriptor of the notebook.
    notebook: i32,
    /// The parent's descriptor of the memory for the crash record, or [`NO_MEMORY`].
    memory: i32,
    /// When the child was started, in hundredths of a second since the system was booted.
    started: u64,
}

/// The value that stands for no descriptor.
const NO_MEMORY: i32 = -1;

/// How this process relates to the parent that a badge names.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Child,
    /// A child whose parent has ended.
    Orphan,
    /// A process that has inherited the badge.
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
        // A child runs within a moment of its start. If the badge is older than that, the process has inherited it.
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

/// Hundredths of a second since the system was booted. The kernel calls them ticks.
fn now() -> Option<u64> {
    let text = fs::read_to_string("/proc/uptime").ok()?;
    text.split_whitespace().next()?.replace('.', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_badge_is_read_as_it_was_issued_and_nothing_else_is_one() {
        let file = fs::File::open("/dev/null").unwrap();
        for badge in [Badge::issue(file.as_fd(), None), Badge::issue(file.as_fd(), Some(file.as_fd()))] {
            assert_eq!(badge.text().parse(), Ok(badge));
        }
        for wrong in ["", "1", "1:2:3", "1:2:3:x", "x:2:3:4", "1:2:3:4:5"] {
            assert_eq!(wrong.parse::<Badge>(), Err(()), "{wrong}");
        }
    }

    #[test]
    fn only_a_child_of_the_process_on_the_badge_is_taken_for_one() {
        let parent = getppid().unwrap().as_raw_nonzero().get();
        let gone = i32::MAX;
        let own = ProcessStat::of(process::id()).unwrap().started;
        let standing = |parent, started| Badge { parent, notebook: 3, memory: 4, started }.standing();
        assert_eq!(standing(parent, own), Standing::Child);
        assert_eq!(standing(gone, own), Standing::Orphan);
        assert_eq!(standing(gone, own.saturating_sub(1000)), Standing::Stranger, "it was inherited");
        assert_eq!(standing(getpid().as_raw_nonzero().get(), own), Standing::Stranger);
    }

    #[test]
    fn the_two_clocks_agree() {
        assert!(ProcessStat::of(process::id()).unwrap().started <= now().unwrap());
    }
}
