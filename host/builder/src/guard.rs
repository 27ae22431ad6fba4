//! That no build outlives the program that waits for it, however that ends.
//!
//! A program that is killed can end nothing any more, and a build is in a process group of its own, which no signal from
//! a terminal reaches. So before its first build, the program starts a *guard*: itself, run again, in a group of its own,
//! where it waits for the end of a pipe that only the program can write to. All builds are known by their standard input:
//! a pipe that holds nothing, of which the guard has an end too. When the program has ended, the guard kills the groups
//! of all processes that read from it.
//!
//! There is none if the program does not call `run_if_asked`. A build that takes another input is not found.

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, getpgid, kill_process_group};
use std::{
    env, fs,
    io::{self, PipeReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
};

/// The first argument of a process that is to be a guard.
pub const MARKER: &str = "__replug-guard";

/// What becomes a guard when it is run with the marker.
static PROGRAM: Mutex<Option<PathBuf>> = Mutex::new(None);

static GUARD: Mutex<Option<Guard>> = Mutex::new(None);

struct Guard {
    /// It lives until the end of its input, which is that of this program.
    _process: Child,
    mark: PipeReader,
}

/// Names a program that calls `run_if_asked` first in its `main`: from now on, builds are guarded.
pub fn guarded_by(program: &Path) {
    *PROGRAM.lock() = Some(program.to_owned());
}

/// An input that holds nothing and makes its reader end with this program. A build is as good without a guard.
pub(crate) fn marked_input() -> Stdio {
    let mut guard = GUARD.lock();
    if guard.is_none() {
        *guard = PROGRAM.lock().as_deref().and_then(|program| start(program).ok());
    }
    let mark = guard.as_ref().and_then(|guard| guard.mark.try_clone().ok());
    mark.map_or_else(Stdio::null, Stdio::from)
}

fn start(program: &Path) -> io::Result<Guard> {
    let (mark, _) = io::pipe()?;
    let mut command = Command::new(program);
    // Whoever reads what the program writes learns of its end at its end.
    command.arg(MARKER).stdin(Stdio::piped()).stdout(mark.try_clone()?).stderr(Stdio::null());
    Ok(Guard { _process: command.process_group(0).spawn()?, mark })
}

/// Is a guard: its standard output is the input of those that it is to end.
pub fn run() -> ! {
    // Its own would keep a file system from being unmounted.
    let _ = env::set_current_dir("/");
    // The program writes nothing: whatever happens, but for a signal, means that it has ended.
    while io::stdin().read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::Interrupted) {}
    let Ok(mark) = fs::read_link("/proc/self/fd/1") else { process::exit(1) };
    // Twice, for what was only being started.
    for _ in 0..2 {
        for group in marked(&mark) {
            // An error means that no one is left.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
    process::exit(0)
}

/// The groups of the processes with this input.
fn marked(mark: &Path) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let reads = |it: &fs::DirEntry| fs::read_link(it.path().join("fd/0")).is_ok_and(|input| input == mark);
    let pids = processes.filter(reads).filter_map(|it| Pid::from_raw(it.file_name().to_str()?.parse().ok()?));
    pids.filter_map(|pid| getpgid(Some(pid)).ok()).collect()
}
