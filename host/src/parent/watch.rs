//! The parent's only occupation: to wait for the end of its child, and to pass signals on to it.

use super::{
    BADGE, Badge, oom,
    verdict::{Ended, History, Verdict},
};
use crate::registry::crash_record::{self, note_end, read, write_down};
use rustix::{
    fs::{MemfdFlags, ftruncate, memfd_create},
    process::{Pid, Signal, getpid, kill_process},
};
use signal_hook::{
    consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2},
    iterator::{
        SignalsInfo,
        exfiltrator::{WithOrigin, origin::Origin},
    },
    low_level::siginfo::Cause,
};
use std::{
    env,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek},
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

/// What the parent hears of.
const HEARD: [i32; 9] = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGCONT, SIGUSR1, SIGUSR2];

/// For how long after a signal that asks for the end a crash counts as the end. After that, the program has taken the
/// signal for something else.
const LEAVING: Duration = Duration::from_secs(30);

/// Why there is no parent.
#[derive(Debug, thiserror::Error)]
#[error("no process can be kept that would start this program again: {what}: {source}")]
pub(super) struct NoParent {
    what: &'static str,
    source: io::Error,
}

/// A parent, and what it takes to be one.
pub(super) struct Watch {
    signals: SignalsInfo<WithOrigin>,
    /// In memory; where the child notes the run folders of its hosts.
    notebook: File,
    /// Where the child keeps its crash record; none if there is no such memory.
    memory: Option<File>,
    child: Child,
    /// How often the kernel had killed for want of memory when the child was started.
    oom_kills: Option<u64>,
    /// When someone last asked for the end.
    asked: Option<Instant>,
}

impl Watch {
    /// Starts the first child.
    pub(super) fn begin() -> Result<Self, NoParent> {
        let failed = |what| move |source| NoParent { what, source };
        let signals = SignalsInfo::new(HEARD).map_err(failed("signals cannot be listened to"))?;
        let notebook = memfd_create("replug-runs", MemfdFlags::CLOEXEC)
            .map_err(|error| failed("no memory for notes")(error.into()))?;
        let notebook = File::from(notebook);
        let oom_kills = oom::kills();
        let memory = crash_record::make().ok();
        let child = spawn(&notebook, memory.as_ref()).map_err(failed("it cannot be run again"))?;
        Ok(Self { signals, notebook, memory, child, oom_kills, asked: None })
    }

    /// Sees the program through its crashes to its end, and gives the status to end with.
    pub(super) fn run(mut self) -> i32 {
        let mut history = History::default();
        loop {
            let status = self.wait();
            let ended = self.look_back(status);
            if self.asked.is_some_and(|asked| asked.elapsed() < LEAVING) {
                // It was on its way out.
                return ended.code();
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
        self.child = spawn(&self.notebook, self.memory.as_ref())?;
        Ok(())
    }

    /// Waits for the end of the child, and passes signals on to it meanwhile.
    fn wait(&mut self) -> ExitStatus {
        loop {
            let heard: Vec<Origin> = self.signals.wait().collect();
            for signal in heard {
                self.hear(&signal);
            }
            // An error means that someone else has waited for it; then there is no more to be known.
            match self.child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => return status,
                Err(_) => return ExitStatus::default(),
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
        }
        // What the terminal sends, it sends to the child as well.
        let from_terminal = heard.cause == Cause::Kernel && signal != SIGCONT;
        if !from_terminal && let Some(signal) = Signal::from_named_raw(signal) {
            // The child is reaped on this thread only, so that its number is not another's. It may have ended.
            let _ = kill_process(Pid::from_child(&self.child), signal);
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

    /// The run folders of the child's hosts.
    fn runs(&mut self) -> Vec<PathBuf> {
        let mut notes = Vec::new();
        let read = self.notebook.rewind().and_then(|()| self.notebook.read_to_end(&mut notes));
        if let Err(error) = read {
            say(Some(format!("warning: what the program has noted cannot be read: {error}")));
        }
        let lines = notes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.map(|line| OsStr::from_bytes(line).into()).collect()
    }
}

/// Runs this program once more, with the same arguments, even if its file has been replaced since.
fn spawn(notebook: &File, memory: Option<&File>) -> io::Result<Child> {
    let mut arguments = env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments).env(BADGE, Badge::issue(notebook.as_fd(), memory.map(AsFd::as_fd)).text()).spawn()
}

fn say(words: Option<String>) {
    if let Some(words) = words {
        eprintln!("{words}");
    }
}
