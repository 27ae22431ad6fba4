//! Open files of an artifact, from which the host can restore it if the store is removed while the artifact is in use.

use super::{
    Artifact, READ_ONLY, Store, StoreError,
    copying::{Failed, copy},
};
use replug_model::id::Digest;
use std::{
    fs::{self, File, Permissions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

/// An artifact whose files are open, so that it stays available even if the store is removed.
#[derive(Debug)]
pub struct Held {
    artifact: Artifact,
    /// The artifact's open files, by their paths in the store.
    files: Vec<(PathBuf, Arc<File>)>,
}

impl Held {
    /// The digest of the artifact.
    pub fn digest(&self) -> Digest {
        self.artifact.digest
    }
}

impl Store {
    /// Opens the files of an artifact and keeps them open. Returns `None` if the store does not have all of them.
    pub fn hold(&self, digest: Digest) -> Option<Held> {
        let artifact = self.get(digest)?;
        let files = artifact.files().into_iter().map(|path| Some((path.clone(), self.held_file(path)?)));
        let files = files.collect::<Option<_>>()?;
        Some(Held { artifact, files })
    }

    /// Opens a file. If another [`Held`] has it open, returns that open file, because many artifacts may share a
    /// library.
    fn held_file(&self, path: PathBuf) -> Option<Arc<File>> {
        let mut held = self.held.lock();
        // The store may have replaced a damaged file.
        let is_same = |file: &Arc<File>| {
            let identity = |metadata: io::Result<fs::Metadata>| metadata.ok().map(|it| (it.dev(), it.ino()));
            identity(file.metadata()) == identity(fs::metadata(&path))
        };
        if let Some(file) = held.get(&path).and_then(Weak::upgrade).filter(is_same) {
            return Some(file);
        }
        held.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(File::open(&path).ok()?);
        held.insert(path, Arc::downgrade(&file));
        Some(file)
    }

    /// Restores the missing files of an artifact in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`], [`StoreError::NotWritable`]: the store is unusable.
    pub fn put_back(&self, held: &Held) -> Result<Artifact, StoreError> {
        let _held = self.hold_libraries();
        for (path, file) in held.files.iter().filter(|(path, _)| !path.exists()) {
            self.put_file_back(path, file).map_err(|source| StoreError::write(path, 0, source))?;
        }
        self.write_library_list(&held.artifact)?;
        Ok(held.artifact.clone())
    }

    fn put_file_back(&self, path: &Path, file: &File) -> io::Result<()> {
        // The path of the file may be gone, so the file is opened again by its descriptor. The new descriptor has its
        // own offset, at the beginning.
        let mut from = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        let mut incoming = self.incoming()?;
        copy(&mut from, incoming.as_file_mut()).map_err(|failed| match failed {
            Failed::Read(source) | Failed::Write(source) => source,
        })?;
        incoming.as_file().set_permissions(Permissions::from_mode(READ_ONLY))?;
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        incoming.persist(path).map(drop).map_err(|error| error.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// A store with one artifact, in a temporary folder.
    fn stored() -> (TempDir, Store, Artifact) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("artifacts")).unwrap();
        let built = dir.path().join("built.so");
        fs::write(&built, "not much of a library").unwrap();
        let artifact = store.put(&built).unwrap();
        (dir, store, artifact)
    }

    #[test]
    fn a_held_artifact_is_restored_after_the_store_was_removed() {
        let (dir, store, artifact) = stored();
        let held = store.hold(artifact.digest).unwrap();
        for _ in 0..2 {
            fs::remove_dir_all(store.dir()).unwrap();
            assert!(store.get(artifact.digest).is_none() && store.hold(artifact.digest).is_none());
            let back = store.put_back(&held).unwrap();
            assert_eq!((back.digest, back.bytes), (artifact.digest, artifact.bytes));
            store.private_copy(&back, &dir.path().join("copy.so")).unwrap();
            fs::remove_file(dir.path().join("copy.so")).unwrap();
        }
    }

    #[test]
    fn a_file_is_open_once_while_it_is_held() {
        let (_dir, store, Artifact { digest, .. }) = stored();
        let [one, other] = [(); 2].map(|()| store.hold(digest).unwrap());
        assert!(Arc::ptr_eq(&one.files[0].1, &other.files[0].1));
        let open = Arc::downgrade(&one.files[0].1);
        drop((one, other));
        assert!(open.upgrade().is_none());
        assert!(store.hold(digest).is_some());
    }
}
