//! Runs a child process, and kills its whole process group when the process exits or when the future is dropped.

use super::{progress, silence};
use crate::{guard, lock_file};
use parking_lot::Mutex;
use replug_model::text::Tail;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use std::{
    any::Any,
    io,
    ops::ControlFlow,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{ChildStderr, ChildStdout},
    task::JoinHandle,
};

/// The result of a process that has exited.
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    /// The last lines of the standard error of the process.
    pub(super) stderr: String,
}

/// How long output is read after the process has exited. Another process, outside of the process group, may keep the
/// pipe open for longer.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// An empty buffer for the last lines of an output.
pub(super) fn tail() -> Tail {
    const LINES: usize = 40;
    const LINE_BYTES: usize = 500;
    Tail::of(LINES, LINE_BYTES)
}

/// Locks that a process holds. They are released when the process has been killed or has exited.
pub(super) type Locks = Vec<Arc<dyn Any + Send + Sync>>;

/// Whether a process, or another one in its group, may write a `Cargo.lock`. This decides how the group is killed when
/// the [`Process`] is dropped.
#[derive(Debug)]
pub(super) enum LockFile {
    /// The group is killed at once.
    Unwritten,
    /// The group is killed while none of its processes writes the file. It may run for a while after the drop, and holds
    /// these locks meanwhile.
    Written(Locks),
}

/// Runs `command` in a process group of its own, with empty input, and passes each line of its output to `on_line`.
///
/// When the process has exited, the rest of its group is killed. When the future is dropped, the whole group is killed.
pub(super) async fn run(
    command: Command,
    lock_file: LockFile,
    on_line: impl FnMut(&str),
) -> io::Result<Finished> {
    match Process::start(command, lock_file)?.read(on_line, |_| ControlFlow::Continue(())).await? {
        Ended::Exited(finished) => Ok(finished),
        // The closure never breaks.
        Ended::Exiting(_) => Err(io::Error::other("the output was not read to its end")),
    }
}

/// How the wait for a process ended.
pub(super) enum Ended {
    /// The process has exited.
    Exited(Finished),
    /// The caller needs nothing more from the process, which is about to exit.
    Exiting(Exiting),
}

/// A process that is about to exit. Its output is read and ignored. Dropping this value kills the process group.
#[derive(Debug)]
pub(super) struct Exiting(JoinHandle<()>);

impl Exiting {
    /// Waits until the process has exited, and kills it if it does not exit.
    pub(super) async fn wait(mut self) {
        // An error means that the process has not exited in time, or that the runtime has dropped the task that waits for
        // it. In both cases, the end of that task kills the process.
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut self.0).await;
    }
}

impl Drop for Exiting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A process in a group of its own, with empty input. Dropping this value kills the whole group.
#[derive(Debug)]
pub(super) struct Process {
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
    child: KillOnDrop,
}

impl Process {
    pub(super) fn start(mut command: Command, lock_file: LockFile) -> io::Result<Self> {
        command.stdin(guard::marked_input()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let leader = Pid::from_child(&child);
        let process = pidfd_open(leader, PidfdFlags::empty()).ok();
        let (unreaped, is_awaited) = (Mutex::new(Some(child)), AtomicBool::new(false));
        let (may_write_lock_file, locks) = match lock_file {
            LockFile::Unwritten => (false, Vec::new()),
            LockFile::Written(locks) => (true, locks),
        };
        let group = Group { leader, process, unreaped, is_awaited, may_write_lock_file, _locks: locks };
        Ok(Self { stdout, stderr, child: KillOnDrop(Arc::new(group)) })
    }

    /// The id of the process.
    #[cfg(test)]
    pub(super) fn id(&self) -> i32 {
        self.child.0.leader.as_raw_pid()
    }

    /// Passes each line of the output to `on_line`, and of the standard error to `on_error_line`, until the process has
    /// exited, or until `on_error_line` breaks.
    pub(super) async fn read(
        self,
        mut on_line: impl FnMut(&str),
        mut on_error_line: impl FnMut(&str) -> ControlFlow<()>,
    ) -> io::Result<Ended> {
        let running = silence::process_starts();
        let mut stdout = self.stdout.map(ChildStdout::from_std).transpose()?.map(buffered);
        let mut stderr = self.stderr.map(ChildStderr::from_std).transpose()?.map(buffered);
        let group = Arc::clone(&self.child.0);
        group.is_awaited.store(true, Ordering::Relaxed);
        let mut ended = tokio::task::spawn_blocking(move || group.wait());
        let mut tail = tail();
        let status = {
            let out = each_line(stdout.as_mut(), |line| {
                on_line(line);
                ControlFlow::Continue(())
            });
            let err = each_line(stderr.as_mut(), |line| {
                tail.push(line);
                on_error_line(line)
            });
            let reading = async { tokio::try_join!(out, err) };
            tokio::pin!(reading);
            tokio::select! {
                status = &mut ended => {
                    // Output that has not arrived before the timeout is dropped.
                    let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
                    Some(status)
                }
                read = &mut reading => match read {
                    Ok(_) => Some((&mut ended).await),
                    Err(Stop::Enough) => None,
                    Err(Stop::Failed(error)) => return Err(error),
                }
            }
        };
        drop(running);
        if let Some(status) = status {
            let status = status.map_err(io::Error::other)??;
            return Ok(Ended::Exited(Finished { status, stderr: tail.text() }));
        }
        let kill_on_drop = self.child;
        Ok(Ended::Exiting(Exiting(tokio::spawn(async move {
            let _kill_on_drop = kill_on_drop;
            // Without a reader, the process could not write its last messages, and would fail.
            let ignore = |_: &str| ControlFlow::Continue(());
            let _ = tokio::join!(each_line(stdout.as_mut(), ignore), each_line(stderr.as_mut(), ignore));
            let _ = ended.await;
        }))))
    }
}

/// Why the output of a process is not read any further.
enum Stop {
    /// The reader needs nothing more.
    Enough,
    Failed(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

fn buffered<T: AsyncRead>(pipe: T) -> BufReader<T> {
    BufReader::with_capacity(64 << 10, pipe)
}

/// Passes each line to `on_line`, until the end of the output or until `on_line` breaks.
async fn each_line<T: AsyncRead + Unpin>(
    pipe: Option<&mut BufReader<T>>,
    mut on_line: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<(), Stop> {
    let Some(pipe) = pipe else { return Ok(()) };
    let mut line = Vec::new();
    loop {
        let read = pipe.fill_buf().await?;
        silence::note_output();
        let end = read.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map(|at| at + 1);
        let taken = end.unwrap_or(read.len());
        line.extend_from_slice(&read[..taken]);
        pipe.consume(taken);
        if taken > 0 && line.ends_with(b"\r") {
            // Cargo ends each progress report with a carriage return. Progress does not belong to the output. Other
            // text before a carriage return is kept as the beginning of the current line.
            if progress::forward(&line) {
                line.clear();
            }
            continue;
        }
        if end.is_some() || taken == 0 && !line.is_empty() {
            if on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])).is_break() {
                return Err(Stop::Enough);
            }
            line.clear();
        }
        if taken == 0 {
            return Ok(());
        }
    }
}

#[derive(Debug)]
struct Group {
    leader: Pid,
    /// A pidfd of the group's leader, or `None` if the kernel does not support pidfds.
    process: Option<OwnedFd>,
    /// The leader, until it has been reaped.
    unreaped: Mutex<Option<Child>>,
    /// Whether a thread waits for the leader, and will reap it.
    is_awaited: AtomicBool,
    /// Whether a process of the group may write a `Cargo.lock`.
    may_write_lock_file: bool,
    /// The locks that the group holds. They are released when this value is dropped. A thread that waits for the leader,
    /// or for the end of a write, has a reference to this value.
    _locks: Locks,
}

impl Group {
    /// Waits until the leader has exited, kills the rest of the group and reaps the leader.
    fn wait(&self) -> io::Result<ExitStatus> {
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(self.leader), exited) {}
        self.end().unwrap_or_else(|| Err(io::Error::other("the process was reaped twice")))
    }

    /// Kills the group and reaps the leader, which takes no time if the leader has exited. Returns `None` if the leader
    /// has been reaped before.
    fn end(&self) -> Option<io::Result<ExitStatus>> {
        let mut unreaped = self.unreaped.lock();
        let mut leader = unreaped.take()?;
        self.send(Signal::KILL);
        Some(leader.wait())
    }

    /// Kills the group. If a process of it writes a `Cargo.lock`, waits on another thread for the end of the write.
    fn cancel(self: &Arc<Self>) {
        if !self.may_write_lock_file {
            return self.kill();
        }
        let members = |group: &Self| guard::members(group.leader);
        if self.while_unreaped(|| lock_file::suspends_now(|signal| self.send(signal), || members(self)))
            != Some(false)
        {
            return self.kill();
        }
        self.while_unreaped(|| self.send(Signal::CONT));
        let group = Arc::clone(self);
        let cancel = move || {
            group.while_unreaped(|| {
                lock_file::suspend_between_writes(|signal| group.send(signal), || members(&group));
            });
            group.kill();
        };
        if thread::Builder::new().name("replug-cancel".into()).spawn(cancel).is_err() {
            // The file may remain incomplete, but the build must not continue.
            self.kill();
        }
    }

    /// Kills the group, and reaps the leader if no other thread will do that.
    fn kill(&self) {
        if self.is_awaited.load(Ordering::Relaxed) {
            self.while_unreaped(|| self.send(Signal::KILL));
        } else {
            let _ = self.end();
        }
    }

    /// Runs `work` unless the leader has been reaped. It is not reaped meanwhile.
    fn while_unreaped<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let unreaped = self.unreaped.lock();
        unreaped.is_some().then(work)
    }

    /// Sends a signal to the group. Must be called only before the leader is reaped, because its process id may be
    /// reused afterwards. Other code in this program, such as a plugin that waits for any child, may have reaped the
    /// leader. In that case, the signal to the pidfd fails, and no other process gets it. Without a pidfd, this case is
    /// not detected.
    fn send(&self, signal: Signal) {
        let is_there = |process| pidfd_send_signal(process, signal).is_ok();
        if self.process.as_ref().is_none_or(is_there) {
            // An error means that the group is empty.
            let _ = kill_process_group(self.leader, signal);
        }
    }
}

#[derive(Debug)]
struct KillOnDrop(Arc<Group>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Starts a shell that has a `Cargo.lock` open for writing, and drops the process. Waits until it has been killed
    /// and has released its lock. Returns the content of the file.
    async fn file_after_drop(lock_file: impl FnOnce(Locks) -> LockFile) -> String {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        // The shell writes only after it has been continued, so it writes only if it was suspended during the write.
        // Without the inner `trap`, the shell could write twice: it may be continued again during the write.
        let script = "trap 'trap \"\" CONT; echo whole >&3; exec 3>&-' CONT; exec 3>Cargo.lock; echo open >&2; while :; do sleep 0.01; done";
        command.args(["-c", script]).current_dir(folder.path());
        let lock: Arc<dyn Any + Send + Sync> = Arc::new(());
        let held = Arc::downgrade(&lock);
        let process = Process::start(command, lock_file(vec![lock])).unwrap();
        let leader = process.id();
        let ended = process.read(|_| {}, |_| ControlFlow::Break(())).await.unwrap();
        assert!(matches!(ended, Ended::Exiting(_)));
        drop(ended);
        let exited = || !guard::members(Pid::from_raw(leader).unwrap()).iter().any(|_| true);
        let content = || fs::read_to_string(folder.path().join("Cargo.lock")).unwrap();
        while held.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
        let when_released = content();
        while !exited() {
            tokio::task::yield_now().await;
        }
        assert_eq!(content(), when_released, "the process wrote after it had released its lock");
        when_released
    }

    #[tokio::test]
    async fn a_dropped_process_completes_its_write_before_it_releases_its_locks() {
        assert_eq!(file_after_drop(LockFile::Written).await, "whole\n");
    }

    #[tokio::test]
    async fn a_process_that_writes_no_lock_file_is_killed_at_once() {
        assert_eq!(file_after_drop(|_| LockFile::Unwritten).await, "");
    }
}
