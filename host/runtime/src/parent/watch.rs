//! The parent's only occupation: to wait for the end of its child, and to pass signals on to it.

use super::{
    BADGE, Badge, CARRIED, CARRY,
    asked::{Asked, Interrupt},
    oom,
    verdict::{Ended, History, Verdict},
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
    fs::File,
    io::{self, Read, Seek},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            ffi::OsStrExt,
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// What the parent hears of, unless it is ignored: whoever started the program so wants that signal to end nothing, and the
/// child ignores it, too. The first it hears of in any case; if it were ignored, no end of a child would be known.
const HEARD: [i32; 9] = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2];

/// For how long after a signal that asks for the end a crash counts as the end. After that, the program has taken the
/// signal for something else.
const LEAVING: Duration = Duration::from_secs(30);

/// Why there is no parent.
#[derive(thiserror::Error)]
#[error("no process can be kept that would start this program again: {what}: {source}")]
pub(super) struct NoParent {
    what: &'static str,
    source: io::Error,
}

replug_model::readable::readable!(NoParent);

/// A parent, and what it takes to be one.
pub(super) struct Watch {
    signals: SignalDelivery<UnixStream, WithOrigin>,
    /// In memory; where the child notes the run folders of its hosts.
    notebook: File,
    /// Where the child keeps its crash record; none if there is no such memory.
    memory: Option<File>,
    child: Running,
    /// How often the kernel had killed for lack of memory when the child was started.
    oom_kills: Option<u64>,
    /// When someone last asked for the end, by whatever signal.
    asked: Option<Instant>,
    requests: Asked,
    /// What the child has noted for the one that comes after it.
    carried: Option<OsString>,
}

impl Watch {
    /// Starts the first child.
    pub(super) fn begin(interrupt: Interrupt) -> Result<Self, NoParent> {
        let failed = |what| move |source| NoParent { what, source };
        let heard = HEARD.into_iter().filter(|signal| *signal == SIGCHLD || !ignores(*signal));
        let signals = UnixStream::pair()
            .and_then(|(read, write)| SignalDelivery::with_pipe(read, write, WithOrigin::default(), heard))
            .map_err(failed("signals cannot be listened to"))?;
        let notebook = memfd_create("replug-runs", MemfdFlags::CLOEXEC)
            .map_err(|error| failed("no memory for notes")(error.into()))?;
        let notebook = File::from(notebook);
        let oom_kills = oom::kills();
        let memory = crash_record::make().ok();
        let child = spawn(&notebook, memory.as_ref(), None).map_err(failed("it cannot be run again"))?;
        let requests = Asked::new(interrupt);
        Ok(Self { signals, notebook, memory, child, oom_kills, asked: None, requests, carried: None })
    }

    /// Sees the program through its crashes to its end, and gives the status to end with.
    pub(super) fn run(mut self) -> i32 {
        let mut history = History::default();
        loop {
            let status = self.wait();
            let ended = self.look_back(status);
            if self.asked.is_some_and(|asked| asked.elapsed() < LEAVING) {
                // It was on its way out. One that had to be killed ends as the signal would have ended it.
                let killed = self.requests.end_at().filter(|_| ended.code() == 128 + Signal::KILL.as_raw());
                return killed.and(self.requests.by()).map_or(ended.code(), |signal| 128 + signal);
            }
            let words = match history.judge(&ended, Instant::now()) {
                Verdict::End(code, words) => {
                    say(words);
                    return code;
                }
                Verdict::Again(words) => words,
            };
            say(words);
            if let Err(error) = self.start_again() {
                say(Some(format!("error: it cannot be started again: {error}")));
                return ended.code();
            }
        }
    }

    fn start_again(&mut self) -> io::Result<()> {
        ftruncate(&self.notebook, 0)?;
        self.oom_kills = oom::kills();
        // The memory of the one before may be held by what that has left behind.
        self.memory = crash_record::make().ok();
        self.child = spawn(&self.notebook, self.memory.as_ref(), self.carried.as_deref())?;
        Ok(())
    }

    /// Waits for the end of the child, passes signals on to it meanwhile, and ends it if it was asked to end and does not.
    fn wait(&mut self) -> ExitStatus {
        let mut killed = false;
        loop {
            if let Some(status) = self.reap() {
                return status;
            }
            let end_at = self.requests.end_at().filter(|_| !killed);
            let left = end_at.map(|at| at.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            // However this ends, what has come is looked at; signals interrupt it.
            let _ = poll(&mut [PollFd::new(self.signals.get_read(), PollFlags::IN)], left.as_ref());
            let heard: Vec<Origin> = self.signals.pending().collect();
            for signal in heard {
                self.hear(&signal);
            }
            if !killed && self.requests.end_at().is_some_and(|at| at <= Instant::now()) {
                killed = true;
                say(Some(
                    "error: the program was asked to end more than once and did not, so it is killed; a plugin in it may \
                     have taken the place of its handlers of signals"
                        .into(),
                ));
                self.child.signal(Signal::KILL);
            }
        }
    }

    /// How the child has ended, if it has. As process 1, the parent is also left the processes of others, which wait for nothing
    /// but that.
    fn reap(&self) -> Option<ExitStatus> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.child.pid => {
                    return Some(ExitStatus::from_raw(status.as_raw()));
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => return None,
                // Someone else has waited for it; then there is no more to be known.
                Err(_) => return Some(ExitStatus::default()),
            }
        }
    }

    fn hear(&mut self, heard: &Origin) {
        let signal = heard.signal;
        if signal == SIGCHLD {
            return;
        }
        if [SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&signal) {
            self.asked = Some(Instant::now());
            self.requests.note(signal, Instant::now());
        }
        // What the terminal sends, it sends to the child as well.
        let from_terminal = heard.cause == Cause::Kernel && signal != SIGCONT;
        if !from_terminal && let Some(signal) = Signal::from_named_raw(signal) {
            self.child.signal(signal);
        }
        if signal == SIGTSTP {
            // Whoever started this program waits for it to stop. It goes on with the signal that makes it.
            let _ = kill_process(getpid(), Signal::STOP);
        }
    }

    /// Finds out how the child ended.
    fn look_back(&mut self, status: ExitStatus) -> Ended {
        let runs = self.runs();
        let short_of_memory = self.oom_kills.zip(oom::kills()).is_some_and(|(before, now)| now > before);
        let mut ended = Ended { status, short_of_memory, ..Ended::default() };
        if let Some(memory) = &self.memory {
            // A host that was shut down has no folder any more.
            runs.iter().for_each(|run| drop(write_down(memory, run)));
        }
        if ended.is_telling() {
            // It may not have been able to say so: after SIGKILL, on a stack that was full, by `_exit`. Without a record
            // there is nothing to be noted in.
            runs.iter().for_each(|run| drop(note_end(run, status)));
        }
        ended.crashes = runs.iter().filter_map(|run| read(run)).collect();
        ended.hosts_left = runs.iter().any(|run| run.exists());
        ended
    }

    /// The run folders of the child's hosts. What the child has noted for the next one is kept.
    fn runs(&mut self) -> Vec<PathBuf> {
        let mut notes = Vec::new();
        let read = self.notebook.rewind().and_then(|()| self.notebook.read_to_end(&mut notes));
        if let Err(error) = read {
            say(Some(format!("warning: what the program has noted cannot be read: {error}")));
        }
        let lines = notes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let (carried, runs): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with(&[CARRY]));
        if let Some(last) = carried.last() {
            self.carried = Some(OsStr::from_bytes(&last[1..]).to_owned());
        }
        runs.into_iter().map(|line| OsStr::from_bytes(line).into()).collect()
    }
}

/// The child.
struct Running {
    pid: Pid,
    /// The process itself, whoever has its number; none where the kernel knows no such thing.
    process: Option<OwnedFd>,
}

impl Running {
    fn of(child: &Child) -> Self {
        let pid = Pid::from_child(child);
        Self { pid, process: pidfd_open(pid, PidfdFlags::empty()).ok() }
    }

    /// Sends it a signal. It may have ended, and others may have waited for it, so that its number is another's.
    fn signal(&self, signal: Signal) {
        let _ = match &self.process {
            Some(process) => pidfd_send_signal(process, signal),
            None => kill_process(self.pid, signal),
        };
    }
}

/// Runs this program once more, with the same arguments, even if its file has been replaced since.
fn spawn(notebook: &File, memory: Option<&File>, carried: Option<&OsStr>) -> io::Result<Running> {
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
    command.spawn().map(|child| Running::of(&child))
}

fn say(words: Option<String>) {
    if let Some(words) = words {
        eprintln!("{words}");
    }
}
