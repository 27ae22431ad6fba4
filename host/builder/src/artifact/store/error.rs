//! The errors of the store. Each states what happened and what to do.

use replug_model::id::Digest;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why an operation of the store failed. The content of the store is unchanged.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The build output is missing.
    #[error("no build output at {}: build again; if a script builds it, check that `binary` names its output", path.display())]
    Missing {
        /// The path at which the build output should be.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}; check its permissions", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why the file cannot be read.
        source: io::Error,
    },
    /// The build output is empty.
    #[error("{} is empty: the build did not finish writing it; build again", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The build output changed while it was read.
    #[error("{} changed while it was read: save it again when it is complete, or write it elsewhere and rename it", path.display())]
    Changing {
        /// The file.
        path: PathBuf,
    },
    /// The file system has no space left. The store keeps its content.
    #[error(
        "no space for {bytes_needed} bytes at {} ({}): {source}; free some space, or keep fewer artifacts; the content of the store is unchanged",
        path.display(), free(*bytes_free)
    )]
    Full {
        /// The folder or file that was written.
        path: PathBuf,
        /// The size of the file to be written, in bytes.
        bytes_needed: u64,
        /// The free space of that file system in bytes, if it is known.
        bytes_free: Option<u64>,
        /// The error of the system.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write {}: {source}; make it writable, or set another `state_dir`", path.display())]
    NotWritable {
        /// The file or folder.
        path: PathBuf,
        /// Why it cannot be written.
        source: io::Error,
    },
    /// The target of a copy already exists.
    #[error("{} already exists: a copy needs an unused path", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The artifact is no longer in the store.
    #[error("{} was removed from the store; build again", path.display())]
    Gone {
        /// The path that the artifact had.
        path: PathBuf,
    },
    /// The names in a copy of a file cannot be changed.
    #[error("{} cannot be loaded with private copies of its libraries: {reason}; build again", path.display())]
    NotRenamed {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        reason: String,
    },
    /// The artifact has changed: its file was replaced or truncated.
    #[error(
        "{} is damaged: expected {expected} ({bytes_expected} bytes), found {found} ({bytes_found} bytes); build again to replace it",
        path.display(), expected = expected.short(), found = found.short()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The digest of the original content.
        expected: Digest,
        /// The digest of its current content.
        found: Digest,
        /// The original size of the file, in bytes.
        bytes_expected: u64,
        /// The current size of the file, in bytes.
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

    /// Converts the error of a failed write of `bytes_needed` bytes. Each variant stands for one remedy.
    pub(super) fn write(path: &Path, bytes_needed: u64, source: io::Error) -> Self {
        use io::ErrorKind::{AlreadyExists, FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.to_owned();
        match source.kind() {
            AlreadyExists => Self::Exists { path },
            // A quota and a limit on file sizes have the same remedy as a full disk.
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
