//! Runs a child process, and kills its whole process group when the process exits or when the future is dropped.

use super::{progress, silence};
use crate::guard;
use parking_lot::Mutex;
use replug_model::text::Tail;
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
};
use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{ChildStderr, ChildStdout},
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

/// Runs `command` in a process group of its own, with empty input, and passes each line of its output to `on_line`.
///
/// When the process has exited, the rest of its group is killed. When the future is dropped, the whole group is killed.
pub(super) async fn run(command: Command, on_line: impl FnMut(&str)) -> io::Result<Finished> {
    run_reading(command, on_line, |_| {}).await
}

/// Like [`run`], but passes each line of the standard error to `on_line`.
pub(super) async fn run_reading_errors(command: Command, on_line: impl FnMut(&str)) -> io::Result<Finished> {
    run_reading(command, |_| {}, on_line).await
}

async fn run_reading(
    mut command: Command,
    mut on_line: impl FnMut(&str),
    mut on_error_line: impl FnMut(&str),
) -> io::Result<Finished> {
    command.stdin(guard::marked_input()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let _running = silence::process_starts();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let leader = Pid::from_child(&child);
    let process = pidfd_open(leader, PidfdFlags::empty()).ok();
    let group = Arc::new(Group { leader, process, reaped: Mutex::new(false) });
    let _kill_on_drop = KillOnDrop(Arc::clone(&group));
    let mut ended = tokio::task::spawn_blocking(move || group.wait(child));

    let mut tail = tail();
    let reading = async {
        let out = async {
            match stdout.map(ChildStdout::from_std) {
                Some(stdout) => each_line(stdout?, &mut on_line).await,
                None => Ok(()),
            }
        };
        let err = async {
            match stderr.map(ChildStderr::from_std) {
                Some(stderr) => {
                    each_line(stderr?, |line| {
                        on_error_line(line);
                        tail.push(line);
                    })
                    .await
                }
                None => Ok(()),
            }
        };
        tokio::try_join!(out, err).map(drop)
    };
    let status = {
        tokio::pin!(reading);
        tokio::select! {
            status = &mut ended => {
                // Output that has not arrived before the timeout is dropped.
                let _ = tokio::time::timeout(DRAIN_TIMEOUT, reading).await;
                status
            }
            read = &mut reading => {
                read?;
                ended.await
            }
        }
    };
    Ok(Finished { status: status.map_err(io::Error::other)??, stderr: tail.text() })
}

async fn each_line(pipe: impl AsyncRead + Unpin, mut on_line: impl FnMut(&str)) -> io::Result<()> {
    let mut pipe = BufReader::with_capacity(64 << 10, pipe);
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
            on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            line.clear();
        }
        if taken == 0 {
            return Ok(());
        }
    }
}

struct Group {
    leader: Pid,
    /// A pidfd of the group's leader, or `None` if the kernel does not support pidfds.
    process: Option<OwnedFd>,
    reaped: Mutex<bool>,
}

impl Group {
    /// Waits until the leader has exited, kills the rest of the group and reaps the leader.
    fn wait(&self, mut child: Child) -> io::Result<ExitStatus> {
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(self.leader), exited) {}
        let mut reaped = self.reaped.lock();
        self.kill();
        let status = child.wait();
        *reaped = true;
        status
    }

    /// Kills the group. Must be called only before the leader is reaped, because its process id may be reused
    /// afterwards. Other code in this program, such as a plugin that waits for any child, may have reaped the leader.
    /// In that case, the signal to the pidfd fails, and nothing is killed. Without a pidfd, this case is not detected.
    fn kill(&self) {
        let is_there = |process| pidfd_send_signal(process, Signal::KILL).is_ok();
        if self.process.as_ref().is_none_or(is_there) {
            // An error means that the group is empty.
            let _ = kill_process_group(self.leader, Signal::KILL);
        }
    }
}

struct KillOnDrop(Arc<Group>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let reaped = self.0.reaped.lock();
        if !*reaped {
            self.0.kill();
        }
    }
}
