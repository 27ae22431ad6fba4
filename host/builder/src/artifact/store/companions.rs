//! The libraries that the store keeps for an artifact: the libraries that belong to it, and the shared libstd that it
//! needs.
//!
//! The store's folder `libraries` contains one copy of each library, in a folder whose name is the SHA-256 of the
//! library's content. The *library list*, a file next to the artifact's file, names the artifact's libraries.

use super::{
    Artifact, INCOMING, READ_ONLY, Store, StoreError,
    copying::{Copied, CopyStamp, Failed, copy},
    dynamic,
};
use crate::artifact::libraries::{Known, Libraries};
use replug_model::id::Digest;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tempfile::NamedTempFile;

/// The folder of the libraries, in the store.
const LIBRARIES: &str = "libraries";

/// The files of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Companions {
    /// The SHA-256 of the artifact's own file.
    pub file: Digest,
    /// The libraries that belong to the artifact. A library with several names is listed once for each name.
    pub libraries: Vec<Library>,
    /// The shared standard library that the artifact needs. That library belongs to the toolchain, and is not part of
    /// the artifact.
    pub std: Option<Library>,
}

/// A library in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Library {
    /// The name by which the artifact's files refer to the library.
    pub name: String,
    /// The SHA-256 of the library's content.
    pub digest: Digest,
    /// The size of the library in bytes.
    pub bytes: u64,
}

impl Companions {
    /// An artifact that consists of one file.
    pub(super) fn none(file: Digest) -> Self {
        Self { file, libraries: Vec::new(), std: None }
    }

    /// The digest that names the artifact: the SHA-256 of its file, or of the list of its files if there are several.
    pub(super) fn digest(&self) -> Digest {
        if self.libraries.is_empty() {
            return self.file;
        }
        let mut hasher = Sha256::new();
        hasher.update(format!("replug artifact\n{}\n", self.file));
        for library in &self.libraries {
            hasher.update(format!("{} {}\n", library.digest, library.name));
        }
        Digest(hasher.finalize().into())
    }

    fn all(&self) -> impl Iterator<Item = &Library> {
        self.libraries.iter().chain(&self.std)
    }
}

impl Artifact {
    /// The path of one of the artifact's libraries in the store.
    pub(super) fn library(&self, library: &Library) -> PathBuf {
        place(self.path.parent().unwrap_or(Path::new("")), library)
    }

    /// The paths of the artifact's libraries in the store, by name. Missing files are left out.
    pub(super) fn known(&self) -> Known {
        let places = self.companions.all().map(|it| (it.name.clone(), self.library(it)));
        places.filter(|(_, path)| path.is_file()).collect()
    }

    /// The paths of the artifact's own file and of its libraries in the store.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        std::iter::once(self.path.clone()).chain(self.companions.all().map(|it| self.library(it))).collect()
    }

    /// The path of the artifact's library list.
    fn library_list(&self) -> PathBuf {
        self.path.with_extension("json")
    }
}

fn place(store: &Path, library: &Library) -> PathBuf {
    store.join(LIBRARIES).join(library.digest.to_string()).join(file_name(&library.name))
}

/// The last part of a name, which may be a path.
pub(super) fn file_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

impl Store {
    /// The digest of the artifact that [`Store::put`] would make from the file at `path`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::Unreadable`]: the file or one of its libraries is unusable.
    pub fn digest_of(path: &Path) -> Result<Digest, StoreError> {
        let hash = |path: &Path| {
            let unreadable = |source| StoreError::unreadable(path, source);
            copy(&mut File::open(path).map_err(unreadable)?, &mut io::sink()).map_err(|failed| match failed {
                Failed::Read(source) | Failed::Write(source) => unreadable(source),
            })
        };
        let mut companions = Companions::none(hash(path)?.digest);
        let file = File::open(path).map_err(|source| StoreError::unreadable(path, source))?;
        let own = dynamic(&file).map(|dynamic| Libraries::of(path, &dynamic, &Known::new()).own);
        for (name, path) in own.into_iter().flatten() {
            let Copied { digest, bytes } = hash(&path)?;
            companions.libraries.push(Library { name, digest, bytes });
        }
        Ok(companions.digest())
    }

    /// Locks the store, so that no other process removes libraries that no library list names yet. Dropping the returned
    /// file releases the lock. Returns `None` if the folder cannot be locked, for example on a file system without
    /// locks. In that case, nothing prevents such a removal.
    pub(super) fn hold_libraries(&self) -> Option<File> {
        let dir = File::open(&self.dir).ok()?;
        flock(&dir, FlockOperation::LockShared).ok()?;
        Some(dir)
    }

    /// Copies the libraries of an artifact into the store; `file` is the digest of the artifact's own file.
    pub(super) fn store_libraries(&self, file: Digest, found: &Libraries) -> Result<Companions, StoreError> {
        let mut companions = Companions::none(file);
        for (name, path) in &found.own {
            companions.libraries.push(self.store_library(name, path)?);
        }
        companions.std = match &found.std {
            Some((name, path)) => Some(self.store_std(name, path)?),
            None => found.needed.iter().find_map(|needed| self.stored_std(&needed.name)),
        };
        Ok(companions)
    }

    fn store_library(&self, name: &str, path: &Path) -> Result<Library, StoreError> {
        let unreadable = |source| StoreError::unreadable(path, source);
        let mut from = File::open(path).map_err(unreadable)?;
        let before = CopyStamp::of(&from).map_err(unreadable)?;
        let folder = self.dir.join(LIBRARIES);
        let failed = |source| StoreError::write(&folder, before.bytes, source);
        fs::create_dir_all(&folder).map_err(failed)?;
        let mut incoming = self.incoming().map_err(failed)?;
        let copied = copy(&mut from, incoming.as_file_mut()).map_err(|error| match error {
            Failed::Read(source) => unreadable(source),
            Failed::Write(source) => failed(source),
        })?;
        if copied.bytes != before.bytes || CopyStamp::of(&from).map_err(unreadable)? != before {
            return Err(StoreError::Changing { path: path.to_owned() });
        }
        let library = Library { name: name.to_owned(), digest: copied.digest, bytes: copied.bytes };
        self.file_away(&library, incoming)?;
        Ok(library)
    }

    /// Moves a complete copy of a library to the library's path in the store, unless an intact copy is there.
    fn file_away(&self, library: &Library, incoming: NamedTempFile) -> Result<(), StoreError> {
        let to = place(&self.dir, library);
        let failed = |source| StoreError::write(&to, library.bytes, source);
        let is_intact = || {
            let copied = copy(&mut File::open(&to).ok()?, &mut io::sink()).ok()?;
            Some(copied.digest == library.digest)
        };
        if is_intact() == Some(true) {
            return Ok(());
        }
        to.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        incoming.as_file().set_permissions(Permissions::from_mode(READ_ONLY)).map_err(failed)?;
        incoming.persist(&to).map(drop).map_err(|error| failed(error.error))
    }

    /// Like [`Store::store_library`], but reads the file again only if it may have changed. A standard library is
    /// large, and rarely changes because it belongs to the toolchain.
    fn store_std(&self, name: &str, path: &Path) -> Result<Library, StoreError> {
        let stamp = File::open(path).and_then(|file| CopyStamp::of(&file)).ok();
        let mut seen = self.seen_std.lock();
        if let Some((_, library)) = seen.get(path).filter(|(found, _)| Some(found) == stamp.as_ref())
            && library.name == name
            && place(&self.dir, library).is_file()
        {
            return Ok(library.clone());
        }
        let library = self.store_library(name, path)?;
        if let Some(stamp) = stamp {
            seen.insert(path.to_owned(), (stamp, library.clone()));
        }
        Ok(library)
    }

    /// A standard library with this name in the store, for an artifact whose toolchain is no longer installed.
    fn stored_std(&self, name: &str) -> Option<Library> {
        if !crate::artifact::libraries::is_std(name) {
            return None;
        }
        let folders = fs::read_dir(self.dir.join(LIBRARIES)).ok()?;
        folders.flatten().find_map(|folder| {
            let digest = folder.file_name().to_str()?.parse().ok()?;
            let bytes = fs::metadata(folder.path().join(name)).ok().filter(fs::Metadata::is_file)?.len();
            Some(Library { name: name.to_owned(), digest, bytes })
        })
    }

    /// Writes the library list of an artifact, if the artifact has libraries.
    pub(super) fn write_library_list(&self, artifact: &Artifact) -> Result<(), StoreError> {
        let path = artifact.library_list();
        if artifact.companions.all().next().is_none() || self.library_list_of(artifact) == artifact.companions
        {
            return Ok(());
        }
        let failed = |source| StoreError::write(&path, 0, source);
        let mut incoming = self.incoming().map_err(failed)?;
        let json = serde_json::to_vec(&artifact.companions).map_err(|error| failed(error.into()))?;
        incoming.write_all(&json).map_err(failed)?;
        incoming.as_file().set_permissions(Permissions::from_mode(READ_ONLY)).map_err(failed)?;
        incoming.persist(&path).map(drop).map_err(|error| failed(error.error))
    }

    /// Reads the library list of an artifact. Ignores a list that belongs to another artifact.
    pub(super) fn library_list_of(&self, artifact: &Artifact) -> Companions {
        let read = || {
            let json = fs::read(artifact.library_list()).ok()?;
            let list: Companions = serde_json::from_slice(&json).ok()?;
            (list.digest() == artifact.digest).then_some(list)
        };
        read().unwrap_or_else(|| Companions::none(artifact.digest))
    }

    /// Removes the library lists and libraries of removed artifacts. Does nothing while another process stores an
    /// artifact.
    pub(super) fn remove_unneeded_libraries(&self) -> Result<(), StoreError> {
        let Ok(dir) = File::open(&self.dir) else { return Ok(()) };
        if !self.dir.join(LIBRARIES).is_dir()
            || flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err()
        {
            return Ok(());
        }
        let mut needed = BTreeSet::new();
        for entry in self.entries()? {
            let path = entry.path();
            let digest = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            match digest.and_then(|digest| self.get(digest)) {
                Some(artifact) => needed.extend(artifact.companions.all().map(|it| it.digest.to_string())),
                None => self.remove(&path)?,
            }
        }
        let unreadable = |source| StoreError::write(&self.dir, 0, source);
        for entry in fs::read_dir(self.dir.join(LIBRARIES)).map_err(unreadable)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !needed.contains(&name) && !name.starts_with(INCOMING) {
                // A later call removes a folder that cannot be removed now.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }

    /// Reads the file at `path`, which belongs to the artifact, and checks that its content has the given digest.
    pub(super) fn read_intact(&self, path: &Path, of: (&Artifact, Digest)) -> Result<Vec<u8>, StoreError> {
        let (artifact, digest) = of;
        let mut bytes = Vec::new();
        let mut from = File::open(path).map_err(|source| StoreError::gone(path, source))?;
        match copy(&mut from, &mut bytes) {
            Ok(copied) if copied.digest == digest => Ok(bytes),
            Ok(Copied { digest: found, bytes }) => {
                let bytes_expected = match path == artifact.path {
                    true => artifact.bytes,
                    false => {
                        artifact.companions.all().find(|it| it.digest == digest).map_or(0, |it| it.bytes)
                    }
                };
                let path = path.to_owned();
                Err(StoreError::Damaged { path, expected: digest, found, bytes_expected, bytes_found: bytes })
            }
            Err(Failed::Read(source) | Failed::Write(source)) => Err(StoreError::unreadable(path, source)),
        }
    }
}
