//! Reading and writing files of the store, and detecting changes.

use replug_model::id::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    time::SystemTime,
};

const CHUNK_BYTES: usize = 64 * 1024;

/// The size and modification time of a file. A write to the file changes at least one of them, unless a program then
/// sets the old time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CopyStamp {
    pub(super) bytes: u64,
    modified: Option<SystemTime>,
}

impl CopyStamp {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self { bytes: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// The identity of an open file of the store: its inode, its size, and the time of its last change. Every write to the
/// file changes the identity, and so does every change of the file's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    /// The time of the last change of the inode, in seconds and nanoseconds.
    changed: (i64, i64),
}

impl Identity {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The digest and size of the copied bytes.
pub(super) struct Copied {
    pub(super) digest: Digest,
    pub(super) bytes: u64,
}

/// Whether reading the source or writing the copy failed.
pub(super) enum Failed {
    Read(io::Error),
    Write(io::Error),
}

/// Copies `from` to `to`. Reads the source only once, so that the written bytes are the hashed bytes.
pub(super) fn copy(from: &mut impl Read, to: &mut impl Write) -> Result<Copied, Failed> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Failed::Read(error)),
        };
        hasher.update(&buffer[..read]);
        to.write_all(&buffer[..read]).map_err(Failed::Write)?;
        bytes += read as u64;
    }
    Ok(Copied { digest: Digest(hasher.finalize().into()), bytes })
}
