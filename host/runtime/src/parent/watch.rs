//! The loop of the parent: it waits for the exit of the child and forwards signals to it. After a crash, it finds the cause
//! and starts the program again.

use super::{
    BADGE, Badge, CARRIED, CARRY,
    asked::{Asked, Interrupt},
    oom,
    verdict::{ChildEnd, History, Verdict},
};
use crate::{
    process_stat::ignores,
    registry::crash_record::{self, note_end, read, write_down},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, ftruncate, memfd_create},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal, wait,
    },
};
use signal_hook::{
    consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2},
    iterator::{
        backend::SignalDelivery,
        exfiltrator::{WithOrigin, origin::Origin},
    },
    low_level::siginfo::Cause,
};
use std::{
    env,
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, Read, Seek},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// The signals that the parent handles, unless this process has inherited them as ignored. An ignored signal must have
/// no effect on the program, so the child, too, inherits it as ignored. SIGCHLD is handled in any case, because the
/// parent would otherwise not notice the exit of a child.
const HANDLED: [i32; 9] = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2];

/// How long a signal such as SIGTERM counts as a request to exit. A child that crashes within this time is not restarted.
/// If the child still runs after this time, the parent assumes that the signal was no such request.
const LEAVING: Duration = Duration::from_secs(30);

/// Why no parent process could be set up.
#[derive(thiserror::Error)]
#[error("cannot set up a parent process that starts this program again after a crash: {what}: {source}")]
pub(super) struct NoParent {
    what: &'static str,
    source: io::Error,
}

replug_model::readable::readable!(NoParent);

/// The state of the parent.
pub(super) struct Watch {
    signals: SignalDelivery<UnixStream, WithOrigin>,
    /// The child's notebook, a file in memory: see [`NOTEBOOK`](super::NOTEBOOK).
    notebook: File,
    /// The memory in which the child keeps its crash record; `None` if the memory cannot be created.
    memory: Option<File>,
    child: RunningChild,
    /// How many processes the kernel had killed for lack of memory when the child was started.
    oom_kills: Option<u64>,
    /// When the program last got a signal that may be a request to exit.
    asked: Option<Instant>,
    requests: Asked,
    /// The note that the last child has left for its successor with [`carry`](super::carry).
    carried: Option<OsString>,
}

impl Watch {
    /// Starts the first child.
    pub(super) fn begin(interrupt: Interrupt) -> Result<Self, NoParent> {
        let failed = |what| move |source| NoParent { what, source };
        let signals = HANDLED.into_iter().filter(|signal| *signal == SIGCHLD || !ignores(*signal));
        let signals = UnixStream::pair()
            .and_then(|(read, write)| SignalDelivery::with_pipe(read, write, WithOrigin::default(), signals))
            .map_err(failed("cannot install signal handlers"))?;
        let notebook = memfd_create("replug-runs", MemfdFlags::CLOEXEC)
            .map_err(|error| failed("cannot create the file for the notes of the child")(error.into()))?;
        let notebook = File::from(notebook);
        let oom_kills = oom::kills();
        let memory = crash_record::make().ok();
        let child =
            spawn(&notebook, memory.as_ref(), None).map_err(failed("cannot run the program again"))?;
        let requests = Asked::new(interrupt);
        Ok(Self { signals, notebook, memory, child, oom_kills, asked: None, requests, carried: None })
    }

    /// Waits for the child, and restarts the program after each crash. Returns the exit status of the parent.
    pub(super) fn run(mut self) -> i32 {
        let mut history = History::default();
        loop {
            let status = self.wait();
            let ended = self.find_cause(status);
            if self.asked.is_some_and(|asked| asked.elapsed() < LEAVING) {
                // The child exited on request, so it is not restarted. If the parent had to kill it, the status is that
                // of the signal with which the exit was requested.
                let killed = self.requests.end_at().filter(|_| ended.code() == 128 + Signal::KILL.as_raw());
                return killed.and(self.requests.by()).map_or(ended.code(), |signal| 128 + signal);
            }
            let words = match history.judge(&ended, Instant::now()) {
                Verdict::End(code, words) => {
                    print(words);
                    return code;
                }
                Verdict::Again(words) => words,
            };
            print(words);
            if let Err(error) = self.start_again() {
                print(Some(format!("error: the program cannot be started again: {error}")));
                return ended.code();
            }
        }
    }

    fn start_again(&mut self) -> io::Result<()> {
        ftruncate(&self.notebook, 0)?;
        self.oom_kills = oom::kills();
        // The new child needs new memory, because descendants of the crashed child may still use the old memory.
        self.memory = crash_record::make().ok();
        self.child = spawn(&self.notebook, self.memory.as_ref(), self.carried.as_deref())?;
        Ok(())
    }

    /// Waits for the exit of the child, and forwards signals to it meanwhile. Kills a child that does not exit on
    /// repeated request.
    fn wait(&mut self) -> ExitStatus {
        let mut killed = false;
        loop {
            if let Some(status) = self.reap() {
                return status;
            }
            let end_at = self.requests.end_at().filter(|_| !killed);
            let left = end_at.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            // The result does not matter, because all signals that have arrived are handled below. A signal may also
            // interrupt `poll`.
            let _ = poll(&mut [PollFd::new(self.signals.get_read(), PollFlags::IN)], left.as_ref());
            let signals: Vec<Origin> = self.signals.pending().collect();
            for signal in signals {
                self.handle(&signal);
            }
            if !killed && self.requests.end_at().is_some_and(|at| at <= Instant::now()) {
                killed = true;
                print(Some(
                    "error: the program did not exit on repeated request, so it is killed; a plugin in it may \
                     have replaced its signal handlers"
                        .into(),
                ));
                self.child.signal(Signal::KILL);
            }
        }
    }

    /// The exit status of the child, if it has exited. As process 1, the parent also reaps orphaned processes.
    fn reap(&self) -> Option<ExitStatus> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.child.pid => {
                    return Some(ExitStatus::from_raw(status.as_raw()));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                // Other code in this process has reaped the child, so its status is lost.
                Err(_) => return Some(ExitStatus::default()),
            }
        }
    }

    fn handle(&mut self, received: &Origin) {
        let signal = received.signal;
        if signal == SIGCHLD {
            return;
        }
        if [SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&signal) {
            self.asked = Some(Instant::now());
            self.requests.note(signal, Instant::now());
        }
        // The terminal sends its signals to the child as well.
        let from_terminal = received.cause == Cause::Kernel && signal != SIGCONT;
        if !from_terminal && let Some(signal) = Signal::from_named_raw(signal) {
            self.child.signal(signal);
        }
        if signal == SIGTSTP {
            // The process that started this program expects the program to stop, so the parent stops itself. SIGCONT
            // resumes it.
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }

    /// Finds out how the child terminated.
    fn find_cause(&mut self, status: ExitStatus) -> ChildEnd {
        let runs: Vec<_> = self.runs().into_iter().filter(|run| is_left(run)).collect();
        let short_of_memory = self.oom_kills.zip(oom::kills()).is_some_and(|(before, now)| now > before);
        let mut ended = ChildEnd { status, short_of_memory, ..ChildEnd::default() };
        if let Some(memory) = &self.memory {
            // If this fails, the crash record of the child is missing.
            runs.iter().for_each(|run| drop(write_down(memory, run)));
        }
        if ended.is_attributable() {
            // In some cases, a child cannot record its own exit: after SIGKILL, a stack overflow, or `_exit`. An error
            // means that there is no crash record to write to.
            runs.iter().for_each(|run| drop(note_end(run, status)));
        }
        ended.crashes = runs.iter().filter_map(|run| read(run)).collect();
        ended.hosts_left = !runs.is_empty();
        ended
    }

    /// Reads the notebook: returns the run folders of the child's hosts, and keeps the child's note for its successor.
    fn runs(&mut self) -> Vec<PathBuf> {
        let mut notes = Vec::new();
        let read = self.notebook.rewind().and_then(|()| self.notebook.read_to_end(&mut notes));
        if let Err(error) = read {
            print(Some(format!(
                "warning: cannot read where the program keeps its crash records, so the cause of a crash stays unknown: {error}"
            )));
        }
        let lines = notes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (carried, runs): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(&[CARRY]));
        if let Some(last) = carried.last() {
            self.carried = Some(OsStr::from_bytes(&last[1..]).to_owned());
        }
        runs.into_iter().map(|line| OsStr::from_bytes(line).into()).collect()
    }
}

/// The beginning of the name that FUSE gives to a file that was removed while it was open or mapped. The file disappears
/// when no process uses it any longer.
const REMOVED: &[u8] = b".fuse_hidden";

/// Whether a host has left files in its run folder, because it was not shut down. Removes a folder without such files.
fn is_left(run: &Path) -> bool {
    let entries = fs::read_dir(run).into_iter().flatten().flatten();
    let is_left = entries.map(|entry| entry.file_name()).any(|name| !name.as_bytes().starts_with(REMOVED));
    if !is_left {
        // Usually, the host has removed its folder. If the folder cannot be removed yet, the next host removes it.
        let _ = fs::remove_dir(run);
    }
    is_left
}

/// The running child.
struct RunningChild {
    pid: Pid,
    /// A pidfd, which refers to the child even if its pid is reused; `None` if the kernel does not support pidfds.
    process: Option<OwnedFd>,
}

impl RunningChild {
    fn of(child: &Child) -> Self {
        let pid = Pid::from_child(child);
        Self { pid, process: pidfd_open(pid, PidfdFlags::empty()).ok() }
    }

    /// Sends a signal to the child. Uses the pidfd, because other code may have reaped the child, so that its pid may
    /// belong to another process.
    fn signal(&self, signal: Signal) {
        let _ = match &self.process {
            Some(process) => pidfd_send_signal(process, signal),
            None => kill_process(self.pid, signal),
        };
    }
}

/// Runs this program once more, with the same arguments, even if the program's file has been replaced since.
fn spawn(notebook: &File, memory: Option<&File>, carried: Option<&OsStr>) -> io::Result<RunningChild> {
    let mut arguments = env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    match carried {
        Some(carried) => command.env(CARRIED, carried),
        None => command.env_remove(CARRIED),
    };
    command.args(arguments).env(BADGE, Badge::issue(notebook.as_fd(), memory.map(AsFd::as_fd)).text());
    command.spawn().map(|child| RunningChild::of(&child))
}

fn print(words: Option<String>) {
    if let Some(words) = words {
        eprintln!("{words}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_folder_is_left_unless_all_its_files_were_removed() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("7-1");
        assert!(!is_left(&run), "the host has removed the folder");
        fs::create_dir(&run).unwrap();
        fs::write(run.join(".fuse_hidden0000000700000002"), "").unwrap();
        assert!(!is_left(&run) && run.exists(), "a process has mapped the removed file");
        fs::write(run.join("lock"), "").unwrap();
        assert!(is_left(&run), "the host was not shut down");
        fs::remove_dir_all(&run).unwrap();
        fs::create_dir(&run).unwrap();
        assert!(!is_left(&run) && !run.exists());
    }
}
