//! The crash record: who was where when the process ended, in a file that outlives it.
//!
//! ```text
//!  run/<pid>-<n>/seats            the header: process, boot, and how it ended      written in the end, by `fault.rs`
//!                                 one row of marks for each seat                   written at each call, by its thread
//!  run/<pid>-<n>/lanes/<lane>.json    who is behind a lane of a mark               written at each load, by `notes.rs`
//! ```
//!
//! `layout.rs` says where what stands; `memory.rs` maps it; `read.rs` reads what a dead process has left.
//!
//! There is one record for a process, however many hosts it has. Each host has it under a name in its own run folder.

mod fault;
mod layout;
mod memory;
mod notes;
mod read;
#[cfg(test)]
mod tests;

pub(super) use memory::marks;
pub(crate) use notes::{Note, NotedInterface};
pub use read::{Blame, Crash, End, Suspect, note_end, read};

use layout::{Header, RECORD_NAME};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, linkat};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
};

/// The record that a host keeps.
#[derive(Debug)]
pub(crate) struct CrashRecord {
    run_dir: PathBuf,
}

/// The record of this process.
static KEPT: Mutex<Option<File>> = Mutex::new(None);

/// The record cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error(
    "no crash record: {}: {source}; if a plugin crashes this program, nothing will say which it was", path.display()
)]
pub(crate) struct RecordError {
    path: PathBuf,
    source: io::Error,
}

impl CrashRecord {
    /// Keeps the record of this process in a host's run folder, from now on and until the process ends.
    pub(crate) fn keep(run_dir: &Path) -> Result<Self, RecordError> {
        let path = run_dir.join(RECORD_NAME);
        let failed = |source: io::Error| RecordError { path: path.clone(), source };
        fs::create_dir(run_dir.join(notes::NOTES_NAME)).map_err(failed)?;
        let mut kept = KEPT.lock();
        let known = match &*kept {
            Some(file) => is_linked(file, &path).map_err(failed)?,
            None => false,
        };
        if !known {
            *kept = Some(begin(&path).map_err(failed)?);
        }
        fault::watch();
        Ok(Self { run_dir: run_dir.to_owned() })
    }

    /// Where the note of a lane belongs.
    pub(super) fn note(&self, lane: usize) -> PathBuf {
        notes::path(&self.run_dir, lane)
    }
}

/// Begins a record.
fn begin(path: &Path) -> io::Result<File> {
    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    // Written in full: on a disk that is full, a store to a part that has no room yet would be a SIGBUS.
    file.write_all(&Header::own()?.fresh_record())?;
    memory::map(&file)?;
    Ok(file)
}

/// Gives a record one more name; false if it has none any more, because all hosts that kept it are gone.
fn is_linked(record: &File, path: &Path) -> io::Result<bool> {
    if record.metadata()?.nlink() == 0 {
        return Ok(false);
    }
    let own = format!("/proc/self/fd/{}", record.as_raw_fd());
    match linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        // The last of them went just now.
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
