//! Private copies of artifacts. A process loads a copy and never the original. The file and the libraries of the
//! artifact are copied to unused paths.

use super::{
    Artifact, READ_ONLY, Store, StoreError,
    companions::file_name,
    copying::{Copied, Failed, Identity, copy},
};
use crate::artifact::relink::Names;
use replug_model::{copy::libraries_of_copy, id::Digest};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

impl Store {
    /// Copies an artifact to the unused path `to`, on a new inode. After an error, `to` does not exist, unless it
    /// existed before.
    ///
    /// If the artifact consists of one file, the copy has the same bytes. If the artifact has libraries, their copies
    /// are in a folder next to `to`, and all copies refer to each other by path. So the dynamic loader cannot mistake
    /// a copy for a library that it has already loaded.
    ///
    /// # Errors
    ///
    /// - [`StoreError::Gone`] or [`StoreError::Damaged`] if a file in the store was removed, replaced or truncated;
    /// - [`StoreError::NotRenamed`] if one of the artifact's files is not a loadable library;
    /// - [`StoreError::Exists`] if `to` exists;
    /// - [`StoreError::Full`], [`StoreError::NotWritable`] if `to` cannot be written.
    pub fn private_copy(&self, artifact: &Artifact, to: &Path) -> Result<(), StoreError> {
        let outcome = match artifact.companions.libraries.is_empty() {
            true => self.copy_file(artifact, to),
            false => self.copy_all(artifact, to),
        };
        // A path that already existed belongs to another copy, and must not be removed.
        if outcome.as_ref().is_err_and(|error| !matches!(error, StoreError::Exists { .. })) {
            // An error of the cleanup is ignored, because the caller needs the first error.
            let _ = fs::remove_file(to);
            let _ = fs::remove_dir_all(libraries_of_copy(to));
        }
        outcome
    }

    fn copy_file(&self, artifact: &Artifact, to: &Path) -> Result<(), StoreError> {
        let mut from =
            File::open(&artifact.path).map_err(|source| StoreError::gone(&artifact.path, source))?;
        let failed = |source| StoreError::write(to, artifact.bytes, source);
        let mut file = create(to).map_err(failed)?;
        let content = (artifact.path.as_path(), artifact.digest);
        if self.is_checked(&from, content) {
            // The content was checked before, so the kernel can copy the file without hashing it again.
            let copied = io::copy(&mut from, &mut file).is_ok_and(|bytes| bytes == artifact.bytes);
            if copied && self.is_checked(&from, content) {
                return Ok(());
            }
            from.rewind().map_err(|source| StoreError::unreadable(&artifact.path, source))?;
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        }
        let identity = Identity::of(&from);
        match copy(&mut from, &mut file) {
            Ok(copied) if copied.digest == artifact.digest => {
                self.note_checked(&artifact.path, artifact.digest, identity);
                Ok(())
            }
            Ok(Copied { digest, bytes }) => Err(StoreError::Damaged {
                path: artifact.path.clone(),
                expected: artifact.digest,
                found: digest,
                bytes_expected: artifact.bytes,
                bytes_found: bytes,
            }),
            Err(Failed::Read(source)) => Err(StoreError::unreadable(&artifact.path, source)),
            Err(Failed::Write(source)) => Err(failed(source)),
        }
    }

    fn copy_all(&self, artifact: &Artifact, to: &Path) -> Result<(), StoreError> {
        let file = self.read_intact(&artifact.path, (artifact, artifact.companions.file))?;
        let folder = libraries_of_copy(to);
        fs::create_dir(&folder).map_err(|source| StoreError::write(&folder, 0, source))?;
        // Two names of the same library share one copy.
        let mut copies: BTreeMap<Digest, String> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for (number, library) in artifact.companions.libraries.iter().enumerate() {
            let copy = copies.entry(library.digest).or_insert_with(|| {
                let name = format!("{number}-{}", file_name(&library.name));
                folder.join(name).to_string_lossy().into_owned()
            });
            names.insert(library.name.clone(), copy.clone());
        }
        for library in &artifact.companions.libraries {
            let Some(copy) = copies.remove(&library.digest) else { continue };
            let from = artifact.library(library);
            let bytes = self.read_intact(&from, (artifact, library.digest))?;
            renamed((&from, bytes), Path::new(&copy), &Names { needed: &names, own: Some(&copy) })?;
        }
        renamed((&artifact.path, file), to, &Names { needed: &names, own: None })
    }
}

/// Writes a copy of a library to `to`, with the new names in it.
fn renamed(of: (&Path, Vec<u8>), to: &Path, names: &Names<'_>) -> Result<(), StoreError> {
    let (from, mut bytes) = of;
    names.put_into(&mut bytes).map_err(|reason| StoreError::NotRenamed { path: from.to_owned(), reason })?;
    let failed = |source| StoreError::write(to, bytes.len() as u64, source);
    create(to).map_err(failed)?.write_all(&bytes).map_err(failed)
}

/// Creates a file at an unused path.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(READ_ONLY).open(path)
}
