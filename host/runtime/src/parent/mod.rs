//! A small process that starts this program again when a crash has ended it.
//!
//! In process, a crash of a plugin is a crash of the program: no one is left in it to do anything about it. So the
//! program first becomes a parent that does nothing but wait, and runs itself once more, with the same arguments, as its
//! child. The child is the program proper, with the same standard streams, in the same process group. It writes into the
//! crash record who is at work; the parent reads that when the child has crashed, and starts another, whose host sees to
//! it that the culprit does not do it again.
//!
//! * `mod.rs`: who is parent and who is child, and that neither outlives the other.
//! * `watch.rs`: waits for the end of the child, and passes signals on to it.
//! * `asked.rs`: when a child that was asked to end, and does not, is killed.
//! * `verdict.rs`: what an end means: another child, or the end of the parent too.
//! * `oom.rs`: whether the kernel kills for lack of memory.
//!
//! **Architecture Invariant:** the parent has one thread and opens no plugin. What ends the child for good ends the
//! parent, and with the same status; what ends the parent ends the child.

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

/// By this a child knows its parent.
const BADGE: &str = "REPLUG_PARENT";

/// What a child has noted for the one that comes after it.
const CARRIED: &str = "REPLUG_CARRIED";

/// What stands before such a note in the notebook. Run folders are absolute paths.
const CARRY: u8 = b'=';

/// Where a child notes the run folders of its hosts, for its parent to find their crash records.
static NOTEBOOK: OnceLock<PathBuf> = OnceLock::new();

/// Runs the rest of this program in a child process, which is started again when a crash has ended it; returns in that
/// child only.
///
/// A program calls this at the beginning of `main`, after `shim::run_if_asked` and before it
/// starts a thread:
///
/// ```no_run
/// # mod replug { pub use replug_runtime::parent; pub mod shim { pub fn run_if_asked() {} } }
/// replug::shim::run_if_asked();
/// replug::parent::keep();
/// // the program itself
/// ```
///
/// The child is started again after `SIGSEGV`, `SIGBUS`, `SIGILL`, `SIGFPE`, `SIGABRT`, `SIGTRAP` and `SIGSYS`; after an
/// `exit` that a plugin called; after `_exit` while it had a host; and after a `SIGKILL` of the kernel's, for lack of memory.
/// Any other end of the child is the end of the parent, with the child's exit status, or 128 and the number of the signal.
/// Of crashes for which no plugin can be blamed, five within a minute are one too many.
///
/// A program may return from `main` or call `exit` while it has a host; the parent then says so, since it may not have meant
/// to. One that means to end by `_exit` shuts its hosts down before.
///
/// Signals that ask the parent to end, to stop or to go on are passed on to the child, unless they came from the
/// terminal, which has told the child as well. If the parent is killed, so is the child. A signal that is ignored, as `SIGHUP`
/// is under `nohup`, is left ignored.
///
/// A program that gets `SIGTERM`, and besides it another one or a `SIGINT` within 30 s, is killed if it has not ended 5 s after
/// the second, or when a third comes: a plugin may have put handlers of its own in the place of the program's. The parent then
/// ends with 128 and the number of the last of these signals. As process 1, as in a container, the parent reaps
/// processes that were left to it.
///
/// Whatever keeps it from this is said on the standard error, and the program goes on without a parent.
pub fn keep() {
    keep_as(Interrupt::Anything);
}

/// Like [`keep`], for a program to which `SIGINT` means the end as `SIGTERM` does: of one that does not end at Ctrl-C, the
/// second has it killed 5 s later, and the third at once.
pub fn keep_until_interrupted() {
    keep_as(Interrupt::End);
}

/// Whether this process ignores a signal.
#[doc(hidden)]
pub fn is_ignored(signal: i32) -> bool {
    ignores(signal)
}

/// Has this process learn how its children end, if whoever started it had it ignore that.
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
                eprintln!("warning: {error}; if a plugin crashes this program, nothing starts it again");
            }
        },
    }
}

/// Notes something, on one line, for the process that is started in the place of this one should it crash. It takes the place of what was noted
/// before.
#[doc(hidden)]
pub fn carry(text: &str) {
    let Some(notebook) = NOTEBOOK.get() else { return };
    let line = [&[CARRY], text.as_bytes(), b"\n"].concat();
    // Where it cannot be written, nothing is carried.
    let _ = fs::File::options().append(true).open(notebook).and_then(|mut file| file.write_all(&line));
}

/// What the process before this one has noted, if it crashed and this one was started in its place.
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
            "the parent process cannot be told of {}: {error}; it will not know who has crashed this one",
            run_dir.display()
        );
    }
}

/// Becomes the child of that parent.
fn follow(badge: Option<&Badge>) {
    let Some(badge) = badge else { return };
    // As the kernel sees it, the parent is the thread that started this process: the only one that it has.
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        eprintln!("warning: this process cannot be told of its parent's end: {error}");
    }
    // It may have ended before the kernel was asked.
    if badge.standing() != Standing::Child {
        end_with_parent();
    }
    if badge.memory != NO_MEMORY
        && let Err(error) = take_memory(badge)
    {
        eprintln!("warning: the parent process cannot hold the crash record of this one: {error}");
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

/// What a child is started with. Everything that the child starts inherits it, and is no child of that parent's.
#[derive(Debug, PartialEq, Eq)]
struct Badge {
    parent: i32,
    /// The parent's descriptor of the notebook.
    notebook: i32,
    /// The parent's descriptor of the memory for the crash record, or [`NO_MEMORY`].
    memory: i32,
    /// When the child was started, in hundredths of a second since the system was.
    started: u64,
}

/// In place of a descriptor.
const NO_MEMORY: i32 = -1;

/// What this process is to the one that a badge names.
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
        // A child runs within a moment of its start; a badge that is older was inherited.
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

/// Hundredths of a second since the system was started, which are what the kernel calls ticks.
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
