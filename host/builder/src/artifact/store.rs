//! The store: immutable artifacts in one folder, each named by the SHA-256 of its content.
//!
//! A file appears under its name complete or not at all, and is never written again. It is a copy of the build output
//! and not a link to it, because the next build would change a linked file while the host uses it.
//!
//! An artifact is one file, or several if libraries outside of the system belong to it. In that case, its name is the
//! SHA-256 of a list of all files, so that a changed library makes another artifact.

mod companions;
mod copying;
mod error;
mod held;
mod private;
#[cfg(test)]
mod tests;

pub use companions::{Companions, Library};
pub use error::StoreError;
pub use held::Held;

use super::{
    Facts, InspectError,
    elf::Dynamic,
    inspect::inspect_stored,
    libraries::{Known, Libraries},
};
use copying::{Copied, CopyStamp, Failed, Identity, copy};
use parking_lot::Mutex;
use replug_model::id::Digest;
use rustix::fs::{FlockOperation, flock, fstat};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Permissions},
    io::{self, Seek},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::SystemTime,
};
use tempfile::NamedTempFile;

/// The prefix of the names of files that are still being written.
const INCOMING: &str = ".incoming-";

/// The permissions of an artifact: read-only, which is enough for `dlopen`.
const READ_ONLY: u32 = 0o444;

/// An immutable build output in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// The SHA-256 of the artifact's file or, if the artifact has libraries, of the list of its files.
    pub digest: Digest,
    /// The path of the artifact's file. Do not open it as a library: make a [`Store::private_copy`].
    pub path: PathBuf,
    /// The size of the artifact's file in bytes.
    pub bytes: u64,
    /// The path of the original build output, for messages. The same as `path` if the artifact was found in the store.
    pub copy_of: PathBuf,
    /// The libraries of the artifact.
    pub companions: Companions,
}

impl Artifact {
    /// Reads the properties of the artifact. Errors name the original file.
    ///
    /// # Errors
    ///
    /// As with [`inspect`](super::inspect()).
    pub fn inspect(&self) -> Result<Facts, InspectError> {
        inspect_stored(&self.path, (&self.copy_of, &self.known())).map_err(|error| error.about(&self.copy_of))
    }
}

/// A folder of artifacts. Several hosts may share one.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    /// The standard libraries of toolchains that the store has copied, by their original paths.
    seen_std: Arc<Mutex<BTreeMap<PathBuf, (CopyStamp, Library)>>>,
    /// The last [`Store::put`] of each build output, by the output's path.
    puts: Arc<Mutex<BTreeMap<PathBuf, Put>>>,
    /// The files of the store that this process has written or hashed, with their digests, by path. A file whose
    /// [`Identity`] is unchanged still has its digest.
    checked: Arc<Mutex<BTreeMap<PathBuf, (Identity, Digest)>>>,
    /// The files that a [`Held`] has open, by path.
    held: Arc<Mutex<BTreeMap<PathBuf, Weak<File>>>>,
}

/// A build output that was stored. When a stopped plugin is started, the host stores the same output again. With this
/// value, it need not copy the output or check the stored file a second time.
#[derive(Clone, Debug)]
struct Put {
    output: CopyStamp,
    /// The digest of the output.
    file: Digest,
    /// The file in the store.
    artifact: PathBuf,
}

impl Put {
    /// The digest and size of `output`, if its content is the stored content. Reads the whole content, because an equal
    /// time and size prove nothing.
    fn unchanged(&self, output: &mut File) -> Option<Copied> {
        copy(output, &mut io::sink()).ok().filter(|copied| copied.digest == self.file)
    }
}

impl Store {
    /// Opens the store in `dir`, and creates `dir` if it is missing. Removes incomplete files of dead processes.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotWritable`] if the folder cannot be created or read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let store = Self {
            dir: dir.into(),
            seen_std: Arc::default(),
            puts: Arc::default(),
            checked: Arc::default(),
            held: Arc::default(),
        };
        fs::create_dir_all(&store.dir).map_err(|source| store.not_writable(source))?;
        store.remove_leftovers()?;
        Ok(store)
    }

    /// The folder of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Stores a copy of a build output. Storing the same content again returns the same artifact, and makes it
    /// the newest.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Missing`], [`StoreError::Unreadable`], [`StoreError::Empty`]: `built` is unusable;
    /// - [`StoreError::Changing`] if `built` changes while it is read;
    /// - [`StoreError::Full`], [`StoreError::NotWritable`]: the store is unusable. Its content is unchanged.
    pub fn put(&self, built: &Path) -> Result<Artifact, StoreError> {
        let unreadable = |source| StoreError::unreadable(built, source);
        let mut from = File::open(built).map_err(unreadable)?;
        let before = CopyStamp::of(&from).map_err(unreadable)?;
        if before.bytes == 0 {
            return Err(StoreError::Empty { path: built.to_owned() });
        }
        let last = self.last_put(built, &before);
        let (copied, incoming) = match last.as_ref().and_then(|last| last.unchanged(&mut from)) {
            Some(copied) => (copied, None),
            None => {
                let (copied, incoming) = self.receive(&mut from, (built, &before))?;
                (copied, Some(incoming))
            }
        };
        if copied.bytes != before.bytes || CopyStamp::of(&from).map_err(unreadable)? != before {
            return Err(StoreError::Changing { path: built.to_owned() });
        }
        // The store is locked until the artifact's library list is written, so that no other process removes the
        // libraries as unused.
        let _held = self.hold_libraries();
        let companions = match dynamic(incoming.as_ref().map_or(&from, NamedTempFile::as_file)) {
            Some(dynamic) => {
                let libraries = Libraries::of(built, &dynamic, &Known::new());
                self.store_libraries(copied.digest, &libraries)?
            }
            None => Companions::none(copied.digest),
        };
        let of = self.artifact(companions.digest(), copied.bytes);
        let artifact = Artifact { copy_of: built.to_owned(), companions, ..of };
        self.write_library_list(&artifact)?;
        if self.is_intact(&artifact) {
            // `prune` removes the artifacts with the oldest mtimes first. An error here only changes this order.
            if let Ok(file) = File::open(&artifact.path)
                && self.is_checked(&file, (&artifact.path, copied.digest))
            {
                let _ = file.set_modified(SystemTime::now());
                self.note_checked(&artifact.path, copied.digest, Identity::of(&file));
            }
        } else {
            let incoming = match incoming {
                Some(incoming) => incoming,
                // The libraries of the output have changed, so the same file becomes another artifact.
                None => {
                    let (again, incoming) = self.receive(&mut from, (built, &before))?;
                    if again.digest != copied.digest {
                        return Err(StoreError::Changing { path: built.to_owned() });
                    }
                    incoming
                }
            };
            // No fsync: after a power failure, the digest reveals a damaged artifact, and a build replaces it. Waiting
            // for the disk at every save would cost more than the whole reload.
            incoming
                .as_file()
                .set_permissions(Permissions::from_mode(READ_ONLY))
                .map_err(|source| self.not_writable(source))?;
            let stored = incoming
                .persist(&artifact.path)
                .map_err(|error| StoreError::write(&artifact.path, copied.bytes, error.error))?;
            self.note_checked(&artifact.path, copied.digest, Identity::of(&stored));
        }
        let put = Put { output: before, file: copied.digest, artifact: artifact.path.clone() };
        self.puts.lock().insert(built.to_owned(), put);
        Ok(artifact)
    }

    /// Copies a build output from its beginning to a new file of the store. `before` is the stamp of the output before
    /// the copy.
    fn receive(
        &self,
        from: &mut File,
        (built, before): (&Path, &CopyStamp),
    ) -> Result<(Copied, NamedTempFile), StoreError> {
        let mut incoming = self.incoming().map_err(|source| self.not_writable(source))?;
        from.rewind().map_err(|source| StoreError::unreadable(built, source))?;
        let copied = copy(from, incoming.as_file_mut()).map_err(|failed| match failed {
            Failed::Read(source) => StoreError::unreadable(built, source),
            Failed::Write(source) => StoreError::write(&self.dir, before.bytes, source),
        })?;
        Ok((copied, incoming))
    }

    /// The previous [`Store::put`] of this path, if the stored file is unchanged, and the output has the same size and
    /// time as at that call.
    fn last_put(&self, built: &Path, before: &CopyStamp) -> Option<Put> {
        let put = self.puts.lock().get(built).filter(|put| put.output == *before)?.clone();
        let stored = File::open(&put.artifact).ok()?;
        self.is_checked(&stored, (&put.artifact, put.file)).then_some(put)
    }

    /// Whether this process has checked that the open file at `path` has this digest, and the file has not changed
    /// since that check.
    fn is_checked(&self, file: &File, (path, digest): (&Path, Digest)) -> bool {
        let checked = self.checked.lock().get(path).copied();
        checked.is_some_and(|(identity, found)| {
            found == digest && Identity::of(file).is_ok_and(|it| it == identity)
        })
    }

    /// Remembers that the file at `path` has this digest as long as it has this identity. Without an identity, forgets
    /// the file.
    fn note_checked(&self, path: &Path, digest: Digest, identity: io::Result<Identity>) {
        let mut checked = self.checked.lock();
        match identity {
            Ok(identity) => checked.insert(path.to_owned(), (identity, digest)),
            Err(_) => checked.remove(path),
        };
    }

    /// The artifact with this digest, if the store has it. Does not check the content; [`Self::private_copy`] does.
    pub fn get(&self, digest: Digest) -> Option<Artifact> {
        let path = self.artifact(digest, 0).path;
        let found = fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file)?;
        Some(self.found(digest, found.len()))
    }

    /// All artifacts, the newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotWritable`] if the folder cannot be read.
    pub fn list(&self) -> Result<Vec<Artifact>, StoreError> {
        let mut found = Vec::new();
        for entry in self.entries()? {
            let (Some(digest), Ok(metadata)) = (digest_in(&entry), entry.metadata()) else { continue };
            if metadata.is_file() {
                let at = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((at, self.found(digest, metadata.len())));
            }
        }
        found.sort_by(|(at, a), (bt, b)| bt.cmp(at).then(a.digest.cmp(&b.digest)));
        Ok(found.into_iter().map(|(_, artifact)| artifact).collect())
    }

    /// Removes artifacts, the oldest first, until at most `keep` are left. Does not remove the artifacts in `in_use`,
    /// even if more than `keep` are left. Returns the digests of the removed artifacts.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotWritable`] if the folder cannot be read or a file cannot be removed.
    pub fn prune(&self, keep: usize, in_use: &BTreeSet<Digest>) -> Result<Vec<Digest>, StoreError> {
        self.remove_leftovers()?;
        let (mut count, mut unused) = (0_usize, Vec::new());
        for entry in self.entries()? {
            let Some(digest) = digest_in(&entry).filter(|_| entry.file_type().is_ok_and(|it| it.is_file()))
            else {
                continue;
            };
            count += 1;
            // A store may have thousands of artifacts, and most of them are in use. Only the others are examined.
            if !in_use.contains(&digest) {
                let at = entry.metadata().and_then(|it| it.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
                unused.push((at, Reverse(digest)));
            }
        }
        unused.sort_unstable();
        unused.truncate(count.saturating_sub(keep));
        let removed: Vec<_> = unused.into_iter().map(|(_, Reverse(digest))| digest).collect();
        for digest in &removed {
            self.remove(&self.artifact(*digest, 0).path)?;
        }
        if !removed.is_empty() {
            self.remove_unneeded_libraries()?;
        }
        Ok(removed)
    }

    fn artifact(&self, digest: Digest, bytes: u64) -> Artifact {
        let path = self.dir.join(format!("{digest}.so"));
        Artifact { digest, copy_of: path.clone(), path, bytes, companions: Companions::none(digest) }
    }

    /// The artifact with this digest in the store, with the libraries in its library list.
    fn found(&self, digest: Digest, bytes: u64) -> Artifact {
        let artifact = self.artifact(digest, bytes);
        Artifact { companions: self.library_list_of(&artifact), ..artifact }
    }

    fn is_intact(&self, artifact: &Artifact) -> bool {
        let digest = artifact.companions.file;
        let Ok(mut file) = File::open(&artifact.path) else { return false };
        if self.is_checked(&file, (&artifact.path, digest)) {
            return true;
        }
        let identity = Identity::of(&file);
        let is_intact = copy(&mut file, &mut io::sink()).is_ok_and(|copied| copied.digest == digest);
        if is_intact {
            self.note_checked(&artifact.path, digest, identity);
        }
        is_intact
    }

    /// A new file, which stays locked while this process writes it.
    fn incoming(&self) -> io::Result<NamedTempFile> {
        loop {
            let file = match tempfile::Builder::new().prefix(INCOMING).tempfile_in(&self.dir) {
                // The folder was removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir_all(&self.dir)?;
                    continue;
                }
                file => file?,
            };
            flock(file.as_file(), FlockOperation::LockExclusive)?;
            // Before this file was locked, another process may have removed it as incomplete.
            if fstat(file.as_file())?.st_nlink > 0 {
                return Ok(file);
            }
        }
    }

    /// Removes incomplete files that no process writes any more. The writer holds a lock on its file, and the kernel
    /// releases the lock when the writer exits. A process id in the name would prove nothing: ids are reused, and
    /// differ between containers.
    fn remove_leftovers(&self) -> Result<(), StoreError> {
        for entry in self.entries()? {
            if !entry.file_name().to_string_lossy().starts_with(INCOMING) {
                continue;
            }
            let Ok(file) = File::open(entry.path()) else { continue };
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
                self.remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// The entries of the store's folder. There are none if the folder was removed.
    fn entries(&self) -> Result<Vec<fs::DirEntry>, StoreError> {
        match fs::read_dir(&self.dir).and_then(Iterator::collect::<io::Result<Vec<_>>>) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries.map_err(|source| self.not_writable(source)),
        }
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        self.checked.lock().remove(path);
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::NotWritable { path: path.to_owned(), source })
            }
            _ => Ok(()),
        }
    }

    fn not_writable(&self, source: io::Error) -> StoreError {
        StoreError::write(&self.dir, 0, source)
    }
}

/// The digest in the name of an artifact's file. `None` if the name is that of another file.
fn digest_in(entry: &fs::DirEntry) -> Option<Digest> {
    entry.file_name().to_str()?.strip_suffix(".so")?.parse().ok()
}

/// The dynamic table of a file, or `None` if it cannot be read.
fn dynamic(file: &File) -> Option<Dynamic> {
    Dynamic::of(file.try_clone().ok()?).ok()
}
