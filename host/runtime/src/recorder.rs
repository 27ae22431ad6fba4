//! Writes the crash record of a host to its file when the host is killed.
//!
//! The crash record is in memory, so that no file system delays a call that writes its mark. A killed host cannot write
//! this memory to a file. If the host has a [parent](crate::parent), the parent writes it. A host without a parent
//! starts a *recorder*: a second process of the same program, in a process group of its own. The recorder has the
//! memory as its standard output and the file as its standard error, and waits until the host exits. Then it copies the
//! memory to the file and exits.
//!
//! The recorder locks the file until it exits. A process that reads the file waits for that lock, so that it reads only
//! a finished record.

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
    io,
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

/// The first argument of a process that becomes a recorder. The pid of the host follows.
pub const MARKER: &str = "__replug-record";

/// How long a recorder may take, on a busy machine, to write the file after its host has exited.
const WRITING: Duration = Duration::from_secs(10);

/// The process that writes the record after the host has exited. Dropping this value kills the process, so that it
/// writes nothing.
#[derive(Debug)]
pub(crate) struct Recorder(Child);

impl Recorder {
    /// Starts the recorder. `program` is this program; its `main` calls `run_if_asked`.
    pub(crate) fn start(program: &Path, memory: BorrowedFd<'_>, file: &Path) -> io::Result<Self> {
        // The lock belongs to this open file, which only the recorder keeps. So the lock lasts until the recorder exits.
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
        // An error means that another process has already killed the recorder.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits, for a limited time, until no recorder writes the record any more.
pub(crate) fn wait_for(record: &File) {
    let began = Instant::now();
    while flock(record, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
        && began.elapsed() < WRITING
    {
        thread::sleep(Duration::from_millis(1));
    }
    // On a file system without locks, the loop does not wait: no recorder can be started there.
    let _ = flock(record, FlockOperation::NonBlockingUnlock);
}

/// Runs as a recorder, with the arguments that follow the marker.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ! {
    // A service manager that stops a service signals all of its processes. This process must not exit before the host.
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        let _ = signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)));
    }
    // A file system that contains the working directory of a process cannot be unmounted.
    let _ = env::set_current_dir("/");
    let host = arguments.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let Some(host) = host else { process::exit(2) };
    wait_for_end(host);
    process::exit(i32::from(copy().is_err()))
}

/// Waits until the host, which started this process, has exited.
fn wait_for_end(host: Pid) {
    // The pipe alone is not enough: a child that the host has forked may still hold the other end. A pidfd reports the
    // exit of the host itself.
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

/// Waits for the end of the pipe. The host writes nothing, so the end, or an error, means that the host has exited.
fn wait_for_end_of_input() {
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
}

/// Copies the memory to the file.
fn copy() -> io::Result<()> {
    let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(|fd: OwnedFd| File::from(fd));
    let (memory, file) = (own(io::stdout().as_fd())?, own(io::stderr().as_fd())?);
    let mut record = vec![0; usize::try_from(memory.metadata()?.len()).map_err(io::Error::other)?];
    memory.read_exact_at(&mut record, 0)?;
    file.write_all_at(&record, 0)
}
