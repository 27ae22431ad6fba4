//! The crash record: which code of which plugin each thread was running when the process terminated. The record is kept
//! in memory that outlives the process. After the process has terminated, the record is written to a file. A *note*, a
//! file for each column, names the generation that the column in a mark stands for.
//!
//! ```text
//!  sealed memory                      a header: process, boot, how it terminated  `fault.rs` writes it at termination
//!                                     one row of marks for each thread slot       each thread writes it at each call
//!  run/<pid>-<n>/thread_slots         a copy of the sealed memory                 written after termination, see below
//!  run/<pid>-<n>/notes/<column>.jsonl  the note of a column                        `notes.rs` writes it at each load
//! ```
//!
//! `layout.rs` defines the layout; `memory.rs` creates and maps the memory; `read.rs` reads the file of a terminated
//! process; `attribution.rs` attributes the crash to a plugin; `line.rs` finds the source line; `output.rs` saves the
//! last output on the standard error. Several processes may write the copy `thread_slots`, each time as a whole:
//!
//! * the process itself, when a signal or `exit` terminates it and the handlers of `fault.rs` run;
//! * its [parent](crate::parent), which holds the memory, after every termination;
//! * without a parent, a [recorder](crate::recorder), which holds the memory, after every termination. A program that
//!   does not call `run_if_asked` has no recorder.
//!
//! A process has one record, however many hosts it has. Each host links the file `thread_slots` into its own run
//! folder.

mod attribution;
mod fault;
mod layout;
mod line;
#[cfg(feature = "lines")]
mod lines;
mod memory;
mod notes;
mod output;
mod read;
#[cfg(test)]
mod tests;

pub(crate) use fault::SIGNALS as CRASH_SIGNALS;
pub(super) use memory::marks;
pub(crate) use memory::{adopt, make};
pub use notes::CodeOrigin;
pub(crate) use notes::{Note, NotedInterface};
pub use output::pass_on;
pub(crate) use read::write_down;
pub use read::{Attribution, Crash, End, Suspect, note_end, read};

use crate::{program::Program, recorder::Recorder};
use layout::{HEADER_BYTES, Header, RECORD_NAME};
use memory::Holder;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, linkat};
use std::{
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::{FileExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

/// The crash record that a host keeps in its run folder.
#[derive(Debug)]
pub struct CrashRecord {
    run_dir: PathBuf,
}

/// The crash record of this process.
static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

struct Kept {
    file: File,
    /// How many hosts of this process keep the record.
    hosts: usize,
    /// Writes the record after this process has terminated, if no parent does.
    _recorder: Option<Recorder>,
}

/// Why no record can be kept.
#[derive(thiserror::Error)]
#[error(
    "no crash record: {}: {source}; if a plugin crashes this program, the crash cannot be attributed to it", path.display()
)]
pub struct RecordError {
    path: PathBuf,
    source: io::Error,
}

replug_model::readable::readable!(RecordError);

impl CrashRecord {
    /// Creates the crash record of this process in the run folder of a host, or links the existing one there. The host
    /// keeps the record until this value is dropped or the process terminates. `program` is the program that can be run
    /// as a recorder.
    ///
    /// # Errors
    ///
    /// * [`RecordError`] if a file or folder cannot be created, if the kernel does not provide the memory, or if this
    ///   process was forked from a process that keeps a record
    pub fn create(run_dir: &Path, program: Option<&Program>) -> Result<Self, RecordError> {
        let path = run_dir.join(RECORD_NAME);
        let failed = |source: io::Error| RecordError { path: path.clone(), source };
        if fault::is_in_child() {
            let reason =
                "this process was forked from one that keeps a record, and has not executed a program since";
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, reason)));
        }
        fs::create_dir(run_dir.join(notes::NOTES_NAME)).map_err(failed)?;
        let mut kept = KEPT.lock();
        match &mut *kept {
            Some(known) if is_linked(&known.file, &path).map_err(failed)? => known.hosts += 1,
            // A new record begins, because there is none, or because no run folder contains the file of the previous
            // one any more. A host whose run folder was removed meanwhile is counted, but gets no new file.
            others => {
                let hosts = others.take().map_or(0, |before| before.hosts) + 1;
                *kept = Some(begin(&path, program, hosts).map_err(failed)?);
            }
        }
        fault::install_handlers();
        Ok(Self { run_dir: run_dir.to_owned() })
    }

    /// The file for the note of a column.
    pub(super) fn note(&self, column: usize) -> PathBuf {
        notes::path(&self.run_dir, column)
    }
}

impl Drop for CrashRecord {
    fn drop(&mut self) {
        let mut kept = KEPT.lock();
        if let Some(it) = &mut *kept {
            it.hosts -= 1;
            if it.hosts == 0 {
                fault::write_to(None);
                *kept = None;
            }
        }
    }
}

/// Creates a record.
fn begin(path: &Path, program: Option<&Program>, hosts: usize) -> io::Result<Kept> {
    let memory = memory::memory().ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "the kernel does not provide memory that another process can share",
        )
    })?;
    let record = Header::own()?.fresh_record();
    memory.file.write_all_at(&record[..HEADER_BYTES], 0)?;
    let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
    // The whole record is written now, to allocate its disk space and to report a full disk immediately.
    file.write_all(&record)?;
    fault::write_to(Some(file.as_fd()));
    let recorder = match (memory.holder, program) {
        (Holder::Nobody, Some(program)) => Some(Recorder::start(program.path(), memory.file.as_fd(), path)),
        _ => None,
    };
    let recorder = recorder.transpose().unwrap_or_else(|error| {
        tracing::warn!(
            "cannot start the recorder of the crash record: {error}; if this process is killed, no record names the plugin \
             that was running"
        );
        None
    });
    Ok(Kept { file, hosts, _recorder: recorder })
}

/// Links the file of a record to one more path. Returns `false` if the file no longer has a path, because the run
/// folders of all hosts that kept it were removed.
fn is_linked(record: &File, path: &Path) -> io::Result<bool> {
    if record.metadata()?.nlink() == 0 {
        return Ok(false);
    }
    let own = format!("/proc/self/fd/{}", record.as_raw_fd());
    match linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        // The only host that still kept the record has just removed its run folder.
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
