//! That the crash record of a host is written down however the host ends.
//!
//! The record lies in memory, so that no file system can get between a call and its mark; and a host that is killed can
//! write nothing any more. So a host without a [parent](crate::parent), which would do it, starts a *recorder*: this same
//! program, run again, in a process group of its own. It holds the memory as its standard output and the file as its
//! standard error, and waits for the end of the host. Then it copies the one to the other, and ends.
//!
//! It holds the lock of the file meanwhile. Whoever reads the file waits for that lock, so that no one reads it before it
//! is written.

use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{FlockOperation, flock},
    process::{Pid, PidfdFlags, getppid, pidfd_open},
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::{
    env,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{fs::FileExt, process::CommandExt},
    },
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::{Arc, atomic::AtomicBool},
    thread,
    time::{Duration, Instant},
};

/// The first argument of a process that is to be a recorder. The number of the host's process follows.
pub const MARKER: &str = "__replug-record";

/// How long a recorder may take from the end of its host to the end of the file, on a busy machine.
const WRITING: Duration = Duration::from_secs(10);

/// The process that writes the record after the host that started it. Dropped, it ends without having done anything.
#[derive(Debug)]
pub(crate) struct Recorder(Child);

impl Recorder {
    /// Starts it, as a program that calls `run_if_asked`.
    pub(crate) fn start(program: &Path, memory: BorrowedFd<'_>, file: &Path) -> io::Result<Self> {
        // Opened for the recorder alone: the lock goes with the last process that has it.
        let file = File::options().read(true).write(true).open(file)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut command = Command::new(program);
        command.arg(MARKER).arg(process::id().to_string());
        command.stdin(Stdio::piped()).stdout(memory.try_clone_to_owned()?).stderr(file);
        command.process_group(0).spawn().map(Self)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // An error means that it was ended by someone else.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until no recorder is at work on a record any more, but not for long.
pub(crate) fn wait_for(record: &File) {
    let began = Instant::now();
    while flock(record, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
        && began.elapsed() < WRITING
    {
        thread::sleep(Duration::from_millis(1));
    }
    // A file system without locks has no recorder to wait for.
    let _ = flock(record, FlockOperation::NonBlockingUnlock);
}

/// Is a recorder, with the arguments that follow the marker.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ! {
    // A service manager that ends all processes of a service asks this one as well, maybe before the host has ended.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    // Its own would keep a file system from being unmounted.
    let _ = env::set_current_dir("/");
    let host = arguments.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let Some(host) = host else { process::exit(2) };
    wait_for_end(host);
    process::exit(i32::from(copy().is_err()))
}

/// Waits until the process that started this one has ended.
fn wait_for_end(host: Pid) {
    // A child that the host has forked may hold the other end of the pipe; of the process itself, only the kernel knows.
    let process = pidfd_open(host, PidfdFlags::empty()).ok().filter(|_| getppid() == Some(host));
    let Some(process) = process else {
        if getppid() == Some(host) {
            wait_for_end_of_input();
        }
        return;
    };
    let input = io::stdin();
    let mut ends = [PollFd::new(&process, PollFlags::IN), PollFd::new(&input, PollFlags::IN)];
    while poll(&mut ends, None) == Err(rustix::io::Errno::INTR) {}
}

/// The host writes nothing: whatever happens, but for a signal, means that it has ended.
fn wait_for_end_of_input() {
    while io::stdin().read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
}

/// Copies the memory to the file.
fn copy() -> io::Result<()> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd: OwnedFd| File::from(fd));
    let (memory, file) = (own(io::stdout().as_fd())?, own(io::stderr().as_fd())?);
    let mut record = vec![0; usize::try_from(memory.metadata()?.len()).map_err(io::Error::other)?];
    memory.read_exact_at(&mut record, 0)?;
    file.write_all_at(&record, 0)
}
