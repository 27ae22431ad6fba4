//! A folder that paths cannot leave.
//!
//! Every path is resolved by `openat2` with `RESOLVE_BENEATH`: the kernel follows the path step by step, and rejects a
//! step that would leave the folder, whether by `..`, an absolute path or a symlink. One call resolves and opens the
//! path. With `canonicalize` and a comparison, another process could insert a symlink between the comparison and the
//! use. `openat2` also works for files that do not exist yet. It cannot detect hard links. If `fs.protected_hardlinks`
//! is set, as in most distributions, a user can create one only to a file that the user owns, or may read and
//! write.

use replug_interfaces::{FileEntry, FileError, FileKind};
use rustix::{
    fd::OwnedFd,
    fs::{
        AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, ftruncate, openat2, statat, unlinkat,
    },
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

/// How many times a path is resolved at most. The kernel returns `AGAIN` if, because of a rename at the same time, it
/// cannot check a `..`, such as one in a symlink.
const ATTEMPTS: usize = 16;

/// A folder that paths cannot leave. Its descriptor is open, so it stays the same folder even if it is renamed.
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

/// Why an operation on a file failed, without the file's path.
pub(crate) enum Problem {
    NotAFile,
    TooLarge { limit: u64 },
    Os(Errno),
    Io(io::Error),
}

impl From<Errno> for Problem {
    fn from(error: Errno) -> Self {
        Self::Os(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Problem {
    /// The error for the caller that passed `path`.
    pub(crate) fn at(self, path: &str) -> FileError {
        let (code, what) = match &self {
            Self::Os(Errno::XDEV) => {
                (FileError::NOT_ALLOWED, "is not allowed: a symlink leads out of its folder".to_owned())
            }
            Self::Os(Errno::NOENT) => {
                (FileError::NOT_FOUND, "does not exist, or its folder does not".to_owned())
            }
            Self::Os(Errno::NOTDIR) => {
                (FileError::NOT_A_FOLDER, "is not a folder, or a part of its path is not".to_owned())
            }
            // `NXIO` is the error for a pipe without a reader, or for a socket.
            Self::NotAFile | Self::Os(Errno::ISDIR | Errno::NXIO) => {
                (FileError::NOT_A_FILE, "is not a file".to_owned())
            }
            Self::TooLarge { limit } => (
                FileError::TOO_LARGE,
                format!("has more than {limit} bytes: shorten it, or raise `max_file_size` in `[config]`"),
            ),
            Self::Os(error) => (FileError::IO, format!("cannot be used: {error}")),
            Self::Io(error) => (FileError::IO, format!("cannot be used: {error}")),
        };
        let error = FileError::new(code, format!("`{path}` {what}")).with("path", path);
        if let Self::TooLarge { limit } = self { error.with("max_file_size", limit) } else { error }
    }
}

impl Folder {
    /// Opens the folder at a trusted path. Fails on a kernel without `openat2` (before Linux 5.6).
    pub(crate) fn open(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(CWD, &path, flags, Mode::empty(), ResolveFlags::empty())?;
        Ok(Self { path, fd })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Problem> {
        let file = self.open_file(path, OFlags::RDONLY)?;
        if file.metadata()?.len() > limit {
            return Err(Problem::TooLarge { limit });
        }
        let mut bytes = Vec::new();
        // The file may have grown since its size was checked.
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(Problem::TooLarge { limit }) } else { Ok(bytes) }
    }

    pub(crate) fn write(&self, path: &Path, bytes: &[u8], limit: u64) -> Result<u64, Problem> {
        let size = bytes.len() as u64;
        if size > limit {
            return Err(Problem::TooLarge { limit });
        }
        let mut file = self.open_file(path, OFlags::WRONLY | OFlags::CREATE)?;
        ftruncate(&file, 0)?;
        file.write_all(bytes)?;
        Ok(size)
    }

    pub(crate) fn list(&self, path: &Path) -> Result<Vec<FileEntry>, Problem> {
        let mut entries = Vec::new();
        let mut dir = Dir::new(self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
        while let Some(entry) = dir.read().transpose()? {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = match statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let (kind, size_bytes) = match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => (FileKind::File, u64::try_from(stat.st_size).unwrap_or(0)),
                FileType::Directory => (FileKind::Folder, 0),
                FileType::Symlink => (FileKind::Symlink, 0),
                _ => (FileKind::Other, 0),
            };
            entries.push(FileEntry { name: name.to_string_lossy().into_owned(), kind, size_bytes });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    pub(crate) fn delete(&self, path: &Path) -> Result<(), Problem> {
        let leads_to = fstat(self.resolve(path, OFlags::PATH)?)?;
        if FileType::from_raw_mode(leads_to.st_mode) != FileType::RegularFile {
            return Err(Problem::NotAFile);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Problem::NotAFile);
        };
        // `unlinkat` follows no symlink and removes no folder, even if the name has changed since the check.
        let parent = self.resolve(parent, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(unlinkat(parent, name, AtFlags::empty())?)
    }

    fn open_file(&self, path: &Path, flags: OFlags) -> Result<File, Problem> {
        // Without `NONBLOCK`, opening a pipe would wait for its other end.
        let file = File::from(self.resolve(path, flags | OFlags::NONBLOCK | OFlags::NOCTTY)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(Problem::NotAFile) }
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = flags | OFlags::CLOEXEC;
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o666) } else { Mode::empty() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let attempt = || openat2(&self.fd, path, flags, mode, resolve);
        (1..ATTEMPTS)
            .map(|_| attempt())
            .find(|opened| !matches!(opened, Err(Errno::AGAIN | Errno::INTR)))
            .unwrap_or_else(attempt)
    }
}
