//! Starts rustc before it is needed. The start of rustc takes a tenth of a rebuild, because the dynamic loader has to
//! relocate a large library. So after a build, a rustc process is started that reads its arguments from a named pipe, and
//! waits there until the next edit.
//!
//! The process needs no supervision: it exits when the write end of the pipe is closed without arguments, for example
//! because this program was killed.

use super::process::{LockFile, Process};
use parking_lot::Mutex;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, mknodat, open},
    io::Errno,
};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    io::Write as _,
    mem,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, task::AbortHandle, time::sleep};

/// The time after a build until the next rustc is started. Starting it immediately would slow down the reload.
const DELAY: Duration = Duration::from_millis(500);

/// How long a process waits for an edit. It has 6 MB of memory of its own, and shares 22 MB with other rustc processes.
const KEEP: Duration = Duration::from_secs(600);

/// The interval at which the host checks whether the process has opened the pipe.
const STEP: Duration = Duration::from_millis(5);

/// The number of checks after which the process is given up.
const STEPS: usize = 2_000;

/// The maximum length of the arguments. A pipe has room for 64 KiB, and the write fails if it would have to wait.
const MOST: usize = 60 << 10;

/// The rustc process that waits for the next edit, if there is one.
#[derive(Debug, Default)]
pub(super) struct Warm {
    slot: Arc<Mutex<Slot>>,
    /// Notified when a process waits.
    ready: Arc<Notify>,
    preparing: Mutex<Option<AbortHandle>>,
}

/// The place of the waiting process.
#[derive(Debug, Default)]
struct Slot {
    /// How often the slot has been emptied. The abort of a task does not stop it at once, so a task may fill the slot
    /// only if this number has not changed since the task was started.
    emptied: u64,
    waiting: Option<Waiting>,
}

impl Slot {
    /// Empties the slot. Returns the number with which a task may fill it again.
    fn empty(&mut self) -> (u64, Option<Waiting>) {
        self.emptied += 1;
        (self.emptied, self.waiting.take())
    }

    /// Fills the slot, unless it was emptied after `emptied` was returned. Returns the value that is not used any more.
    fn fill(&mut self, emptied: u64, value: Option<Waiting>) -> Option<Waiting> {
        if self.emptied == emptied { mem::replace(&mut self.waiting, value) } else { value }
    }
}

impl Warm {
    /// Starts the command `rustc` after a delay. The command has an environment and a working folder, but no arguments:
    /// the process will read them from the named pipe `pipe`.
    pub(super) fn prepare(&self, rustc: Command, pipe: PathBuf) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (emptied, previous) = self.slot.lock().empty();
        drop(previous);
        let (slot, ready) = (Arc::downgrade(&self.slot), Arc::clone(&self.ready));
        let set = move |value| {
            if let Some(slot) = slot.upgrade() {
                // The process is killed after the lock is released.
                let unused = slot.lock().fill(emptied, value);
                drop(unused);
            }
            ready.notify_one();
        };
        let preparing = runtime.spawn(async move {
            sleep(DELAY).await;
            if let Ok(waiting) = Waiting::start(rustc, &pipe).await {
                set(Some(waiting));
                sleep(KEEP).await;
                set(None);
            }
        });
        self.replace(Some(preparing.abort_handle()));
    }

    /// Returns the process if it is ready, and prepares no other.
    pub(super) fn take(&self) -> Option<Waiting> {
        self.replace(None);
        self.slot.lock().empty().1
    }

    /// Returns when a process waits.
    #[cfg(test)]
    pub(super) async fn ready(&self) {
        while !self.is_ready() {
            self.ready.notified().await;
        }
    }

    /// Whether a process waits.
    #[cfg(test)]
    pub(super) fn is_ready(&self) -> bool {
        self.slot.lock().waiting.is_some()
    }

    fn replace(&self, preparing: Option<AbortHandle>) {
        if let Some(previous) = mem::replace(&mut *self.preparing.lock(), preparing) {
            previous.abort();
        }
    }
}

impl Drop for Warm {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A rustc process that waits for its arguments.
#[derive(Debug)]
pub(super) struct Waiting {
    process: Process,
    arguments: fs::File,
}

impl Waiting {
    async fn start(mut rustc: Command, pipe: &Path) -> io::Result<Self> {
        let _ = fs::remove_file(pipe);
        mknodat(CWD, pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let named = Removed(pipe);
        let mut file = OsString::from("@");
        file.push(named.0);
        rustc.arg(file);
        let process = Process::start(rustc, LockFile::Unwritten)?;
        for _ in 0..STEPS {
            // Without a reader, the pipe cannot be opened. The process opens it as soon as it is ready.
            match open(pipe, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty()) {
                Ok(arguments) => return Ok(Self { process, arguments: arguments.into() }),
                Err(Errno::NXIO) => sleep(STEP).await,
                Err(error) => return Err(error.into()),
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Passes the arguments to the process, which then compiles.
    ///
    /// # Errors
    ///
    /// If the process has exited, or if the arguments cannot be passed through a file.
    pub(super) fn compile<'a>(mut self, args: impl Iterator<Item = &'a OsStr>) -> io::Result<Process> {
        self.arguments.write_all(lines(args).ok_or(io::ErrorKind::InvalidInput)?.as_bytes())?;
        Ok(self.process)
    }
}

/// The arguments as rustc reads them from a file: one in each line. Returns `None` if this is not possible.
fn lines<'a>(mut args: impl Iterator<Item = &'a OsStr>) -> Option<String> {
    let text = args.try_fold(String::new(), |text, arg| {
        let arg = arg.to_str().filter(|arg| !arg.contains(['\n', '\r']))?;
        Some(text + arg + "\n")
    });
    text.filter(|text| text.len() <= MOST)
}

/// Removes the file when it is dropped.
struct Removed<'p>(&'p Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::process::Ended;
    use std::ops::ControlFlow;

    /// A program that prints the file that its argument names, as rustc reads the file of its arguments.
    fn reader() -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", r#"exec cat "${0#@}""#]);
        command
    }

    #[tokio::test]
    async fn a_waiting_process_gets_its_arguments_and_leaves_no_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("args");
        let waiting = Waiting::start(reader(), &pipe).await.unwrap();
        assert!(!pipe.exists());
        let args = ["--cfg", "with space", ""];
        let mut read = Vec::new();
        let process = waiting.compile(args.iter().map(OsStr::new)).unwrap();
        let ended = process.read(|line| read.push(line.to_owned()), |_| ControlFlow::Continue(())).await;
        assert!(matches!(ended.unwrap(), Ended::Exited(it) if it.status.success()));
        assert_eq!(read, args);
    }

    #[tokio::test]
    async fn a_process_that_gets_no_arguments_reads_the_end_of_the_pipe() {
        let folder = tempfile::tempdir().unwrap();
        let Waiting { process, arguments } =
            Waiting::start(reader(), &folder.path().join("args")).await.unwrap();
        drop(arguments);
        let ended = process.read(|line| panic!("{line}"), |_| ControlFlow::Continue(())).await;
        assert!(matches!(ended.unwrap(), Ended::Exited(_)));
    }

    #[tokio::test]
    async fn a_dropped_process_is_killed_and_reaped() {
        let folder = tempfile::tempdir().unwrap();
        let waiting = Waiting::start(reader(), &folder.path().join("args")).await.unwrap();
        let process = PathBuf::from(format!("/proc/{}", waiting.process.id()));
        assert!(process.exists());
        drop(waiting);
        assert!(!process.exists());
    }

    #[tokio::test]
    async fn a_process_that_is_ready_only_after_the_slot_was_emptied_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let slot = Mutex::new(Slot::default());
        let (emptied, _) = slot.lock().empty();
        let late = Waiting::start(reader(), &folder.path().join("late")).await.unwrap();
        let process = PathBuf::from(format!("/proc/{}", late.process.id()));
        let (emptied_again, none) = slot.lock().empty();
        assert!(none.is_none());
        drop(slot.lock().fill(emptied, Some(late)));
        assert!(slot.lock().waiting.is_none() && !process.exists());

        let in_time = Waiting::start(reader(), &folder.path().join("in-time")).await.unwrap();
        assert!(slot.lock().fill(emptied_again, Some(in_time)).is_none());
        assert!(slot.lock().fill(emptied, None).is_none(), "the end of the earlier task changes nothing");
        assert!(slot.lock().waiting.is_some());
    }

    #[test]
    fn lines_rejects_arguments_that_a_file_cannot_contain() {
        let of = |arg: &str| lines([OsStr::new("a"), OsStr::new(arg)].into_iter());
        assert_eq!(of("b c").as_deref(), Some("a\nb c\n"));
        assert_eq!(of("b\nc"), None);
        assert_eq!(of("b\r"), None);
        assert_eq!(of(&"x".repeat(MOST)), None);
    }
}
