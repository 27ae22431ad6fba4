//! What can go wrong in the store, and what to do about it.

use replug_model::id::Digest;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why the store could not do what was asked. What it held before, it still holds.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The build output is not there.
    #[error("no build output at {}: build again; if a script builds it, check that `binary` names its output", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The build output is empty.
    #[error("{} is empty: the build did not finish writing it; build again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Someone writes the build output while it is read.
    #[error("{} is being written while it is read: save again when it is complete, or rename the complete file into its place", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// There is no space left. Nothing is lost.
    #[error(
        "no space for {bytes_needed} bytes at {} ({}): {source}; free some space, or keep fewer artifacts; what the store holds is untouched",
        path.display(), free(*bytes_free)
    )]
    Full {
        /// The folder or file that was written.
        path: PathBuf,
        /// The size of what was to be written, in bytes.
        bytes_needed: u64,
        /// What is free on that file system, in bytes, if it says so.
        bytes_free: Option<u64>,
        /// What the system says.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}; make it writable, or let the host keep its data elsewhere", path.display())]
    NotWritable {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is a file already where a copy was to go.
    #[error("{} is there already: a copy needs a path that was never used", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The artifact is no longer in the store.
    #[error("{} is gone from the store: someone removed it; build again", path.display())]
    Gone {
        /// Where it was.
        path: PathBuf,
    },
    /// A library cannot be given a name of its own.
    #[error("{} cannot be loaded with libraries of its own: {reason}; build again", path.display())]
    NotRenamed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The artifact is not what it was: its file was replaced or truncated.
    #[error(
        "{} is damaged: its content should be {expected} ({bytes_expected} bytes) and is {found} ({bytes_found} bytes); build again, which replaces it",
        path.display(), expected = expected.short(), found = found.short()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest that it is named by.
        expected: Digest,
        /// The digest of what is there.
        found: Digest,
        /// The size it had, in bytes.
        bytes_expected: u64,
        /// The size it has, in bytes.
        bytes_found: u64,
    },
}

replug_model::readable::readable!(StoreError);

impl StoreError {
    pub(super) fn unreadable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { path },
            _ => Self::Unreadable { path, source },
        }
    }

    pub(super) fn gone(path: &Path, source: io::Error) -> Self {
        match Self::unreadable(path, source) {
            Self::Missing { path } => Self::Gone { path },
            other => other,
        }
    }

    /// Sorts a failed write of `bytes_needed` bytes by what helps against it.
    pub(super) fn write(path: &Path, bytes_needed: u64, source: io::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            AlreadyExists => Self::Exists { path },
            // A quota or a limit on file sizes leaves the same way out as a full disk.
            StorageFull | QuotaExceeded | FileTooLarge => {
                let folder = if path.is_dir() { Some(path.as_path()) } else { path.parent() };
                let bytes_free = folder
                    .and_then(|folder| rustix::fs::statvfs(folder).ok())
                    .map(|stats| stats.f_bavail.saturating_mul(stats.f_frsize));
                Self::Full { path, bytes_needed, bytes_free, source }
            }
            _ => Self::NotWritable { path, source },
        }
    }
}

fn free(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "free space unknown".to_owned(), |bytes| format!("{bytes} bytes free"))
}
