//! Reads the record of a process that has ended. It may contain anything, so each field is checked.

use super::{
    attribution::suspects,
    layout::{FAULT_AT, Fault, Header, Kind, RECORD_BYTES, RECORD_NAME},
};
use crate::{load::process::signal_name, recorder};
use replug_model::id::{Digest, Generation, PluginId};
use std::{
    fmt,
    fs::File,
    io::{self, Read},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::ExitStatus,
};

/// The end of a process that had not shut its host down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The pid of the process.
    pub pid: u32,
    /// How it ended.
    pub end: End,
    /// The plugins that may have ended it. If it is known which plugin's thread did, only that one; otherwise all that
    /// were running code.
    pub suspects: Vec<Suspect>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A signal, such as `SIGSEGV`.
    Signal(&'static str),
    /// A call of `exit` from within a plugin. A call of `_exit` counts as well, if the process that waited for this one
    /// has [noted](note_end) its status.
    Exit,
    /// An end that leaves no record, by `SIGKILL` or `_exit`.
    Unknown,
}

/// A plugin that may have ended the process.
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
    /// The method; or the step of the plugin's life, such as `init`; or `a thread of its own`.
    pub method: String,
    /// The line of the plugin's source that ended the process, such as `src/lib.rs:12`; `None` if that is unknown.
    pub line: Option<String>,
    /// Why the plugin is suspected.
    pub blamed: Blame,
}

/// Why a plugin is suspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The plugin's thread raised the signal, or called `exit`.
    Raised,
    /// The plugin's code was running when the process ended, and nothing tells which thread ended it.
    InFlight,
}

/// Reads what a process has left in its run folder; `None` if it shut down properly, or left nothing readable.
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

/// Records how a process ended, if the process could not record that itself. The process that has waited for it calls
/// this.
///
/// A process that has recorded no exit did not go through `exit`. In that case, the plugins with calls in flight are
/// suspected.
///
/// # Errors
///
/// * The error of the file system; [`io::ErrorKind::InvalidData`] if the folder holds no readable record
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

/// Writes the memory of a process that has ended to its run folder, where the next host reads it. The process that
/// holds that memory calls this.
///
/// # Errors
///
/// * The error of the file system; [`io::ErrorKind::InvalidData`] if the process kept no record
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
        write!(f, "the process before this one ({}) ended ", self.pid)?;
        match self.end {
            End::Signal(name) => write!(f, "by {name}")?,
            End::Exit => write!(f, "by a call of `exit`")?,
            End::Unknown => write!(f, "without recording a reason")?,
        }
        for (number, suspect) in self.suspects.iter().enumerate() {
            let how = match (number, suspect.blamed) {
                (0, Blame::Raised) => " in ",
                (0, Blame::InFlight) => "; running: ",
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
