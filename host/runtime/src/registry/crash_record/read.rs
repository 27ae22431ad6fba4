//! Reads the crash record of a terminated process. The file may contain anything, so each field is checked.

use super::{
    attribution::suspects,
    layout::{FAULT_AT, Fault, Header, Kind, RECORD_BYTES, RECORD_NAME},
};
use crate::{recorder, signal::signal_name};
use replug_model::id::{Digest, Generation, PluginId};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::ExitStatus,
};

/// The crash of a process, as its crash record describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The pid of the process.
    pub pid: u32,
    /// How the process terminated.
    pub end: End,
    /// The plugins that may have crashed the process: if it is known which plugin's thread crashed it, only that
    /// plugin; otherwise, all plugins whose code was running.
    pub suspects: Vec<Suspect>,
}

/// How a process terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal, such as `SIGSEGV`.
    Signal(&'static str),
    /// A call to `exit` in a plugin's code, or a call to `_exit` whose status another process has [noted](note_end).
    Exit,
    /// No cause is recorded, as after `SIGKILL` or `_exit` if no other process has [noted](note_end) the end.
    Unknown,
}

/// A plugin that may have crashed the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The plugin.
    pub plugin: PluginId,
    /// The generation.
    pub generation: Generation,
    /// The artifact.
    pub digest: Digest,
    /// The interface that was called; empty if there was no call.
    pub interface: String,
    /// The method; or the lifecycle step, such as `init`; or `a thread of its own`.
    pub method: String,
    /// The line of the plugin's source that crashed the process, such as `src/lib.rs:12`; `None` if it is unknown.
    pub line: Option<String>,
    /// Why the plugin is suspected.
    pub attribution: Attribution,
}

/// Why a plugin is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// The plugin's thread raised the signal, or called `exit`.
    Raised,
    /// The plugin's code was running when the process terminated, and it is unknown which thread caused that.
    InFlight,
}

/// Reads the crash record in the run folder of a terminated process. `None` if the process exited and no plugin caused
/// the exit, or if the folder contains no valid record.
pub fn read(run_dir: &Path) -> Option<Crash> {
    let record = contents(run_dir).ok()?;
    let header = Header::read(&record)?;
    let fault = Fault::read(&record)?;
    let suspects = suspects(run_dir, &record, &fault);
    let end = match fault.kind {
        Kind::Left if suspects.is_empty() => return None,
        Kind::Left | Kind::Exit => End::Exit,
        Kind::Raised | Kind::Sent => signal_name(fault.signal).map_or(End::Unknown, End::Signal),
        Kind::None | Kind::Claimed => End::Unknown,
    };
    Some(Crash { pid: header.pid, end, suspects })
}

/// Adds to the crash record how a process terminated, if the process could not record that itself. `status` comes from
/// the caller's wait for the process.
///
/// If a process has exited and its crash record contains no exit, the process called `_exit`, not `exit`. In that case,
/// the plugins whose code was running are suspected.
///
/// # Errors
///
/// * The error of the file system; [`io::ErrorKind::InvalidData`] if the folder contains no valid record
pub fn note_end(run_dir: &Path, status: ExitStatus) -> io::Result<()> {
    let record = contents(run_dir)?;
    let legible = Header::read(&record).and_then(|_| Fault::read(&record));
    let fault = legible.ok_or(io::ErrorKind::InvalidData)?;
    if matches!(fault.kind, Kind::None | Kind::Claimed) {
        let file = File::options().write(true).open(run_dir.join(RECORD_NAME))?;
        let seen = match status.signal() {
            Some(signal) => Fault::seen(Kind::Sent, signal),
            None => Fault::seen(Kind::Exit, 0),
        };
        file.write_all_at(&seen, FAULT_AT as u64)?;
    }
    Ok(())
}

/// Writes the crash record in the file `memory` to the run folder of a terminated process, where the next host reads
/// it.
///
/// # Errors
///
/// * The error of the file system; [`io::ErrorKind::InvalidData`] if the memory contains no record
pub(crate) fn write_down(memory: &File, run_dir: &Path) -> io::Result<()> {
    let mut record = vec![0; RECORD_BYTES];
    memory.read_exact_at(&mut record, 0)?;
    Header::read(&record).ok_or(io::ErrorKind::InvalidData)?;
    let file = File::options().write(true).create(true).truncate(false).open(run_dir.join(RECORD_NAME))?;
    file.write_all_at(&record, 0)
}

fn contents(run_dir: &Path) -> io::Result<Vec<u8>> {
    let mut record = Vec::new();
    let file = File::open(run_dir.join(RECORD_NAME))?;
    recorder::wait_for(&file);
    // The limit is one byte more than a record, which shows whether the file is too long.
    file.take(RECORD_BYTES as u64 + 1).read_to_end(&mut record)?;
    Ok(record)
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the previous process ({}) ended ", self.pid)?;
        match self.end {
            End::Signal(name) => write!(f, "by {name}")?,
            End::Exit => write!(f, "by a call to `exit`")?,
            End::Unknown => write!(f, "without recording a reason")?,
        }
        for (number, suspect) in self.suspects.iter().enumerate() {
            let how = match (number, suspect.attribution) {
                (0, Attribution::Raised) => " in ",
                (0, Attribution::InFlight) => "; running: ",
                _ => ", ",
            };
            write!(f, "{how}{suspect}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Suspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, generation, interface, method, line, .. } = self;
        let dot = if interface.is_empty() { "" } else { "." };
        write!(f, "{plugin} {generation} ({interface}{dot}{method}")?;
        if let Some(line) = line {
            write!(f, " at {line}")?;
        }
        write!(f, ")")
    }
}
