//! Saved states on disk, one for each plugin, for the plugin's next instance. A saved state is either a checkpoint, for
//! recovery from a crash, or the state that was saved at a stop.
//!
//! Each file is written completely or not at all. Only the host that owns the plugin's [record](crate::record) reads
//! and writes the plugin's saved state.

use crate::{
    atomic_file::{self, Durability},
    id::PluginId,
    load::process::SavedBy,
};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 16] = b"replug state 02\n";
const HEADER_BYTES: usize = 16 + 4 + 8 + 32;

/// Why a saved state cannot be used.
#[derive(thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not a checkpoint that this version of replug can read", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
}

crate::readable::readable!(CheckpointError);

/// The folder with the saved states.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
}

impl Checkpoints {
    /// The saved states in this folder, which need not exist.
    pub(crate) fn in_dir(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The last saved state of this plugin.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if a saved state exists but cannot be used.
    pub(crate) fn last(&self, id: &PluginId) -> Result<Option<SavedBy>, CheckpointError> {
        let path = self.path(id);
        match fs::read(&path) {
            Ok(bytes) => decode(&path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CheckpointError::Unreadable { path, source }),
        }
    }

    /// Stores a state, replacing the previous state. The file survives the end of the process, but may be lost in a
    /// power failure.
    ///
    /// # Errors
    ///
    /// * The error of the file system
    pub(crate) fn save(&self, id: &PluginId, saved: (u32, &[u8])) -> io::Result<()> {
        self.write(id, saved, Durability::Process)
    }

    /// Like [`Checkpoints::save`], but returns after the file is on disk and survives a power failure.
    ///
    /// # Errors
    ///
    /// * The error of the file system
    pub(crate) fn save_durably(&self, id: &PluginId, saved: (u32, &[u8])) -> io::Result<()> {
        self.write(id, saved, Durability::PowerCut)
    }

    fn write(&self, id: &PluginId, (version, state): (u32, &[u8]), durability: Durability) -> io::Result<()> {
        // The name of the temporary file begins with a dot, and an id does not. So no file of another plugin has this
        // name.
        atomic_file::replace(&self.path(id), &encode(version, state), durability)
    }

    /// Removes the saved state of this plugin.
    pub(crate) fn remove(&self, id: &PluginId) {
        // A file that cannot be removed stays, and is used or reported at the next start.
        let _ = fs::remove_file(self.path(id));
        // Fails if the folder is not empty.
        let _ = fs::remove_dir(&self.dir);
    }

    /// Renames an unusable file to an unused name. Returns the new path, or `None` if the file cannot be renamed.
    pub(crate) fn put_aside(&self, id: &PluginId) -> Option<PathBuf> {
        let names = (2..).map(|number| format!("{id}_refused-{number}"));
        let mut names = std::iter::once(format!("{id}_refused")).chain(names).map(|name| self.dir.join(name));
        let aside = names.find(|name| !name.exists())?;
        fs::rename(self.path(id), &aside).ok().map(|()| aside)
    }

    /// The path of a plugin's saved state.
    pub(crate) fn path(&self, id: &PluginId) -> PathBuf {
        self.dir.join(id.as_str())
    }
}

fn encode(version: u32, state: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + state.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&Sha256::digest(state));
    bytes.extend_from_slice(state);
    bytes
}

fn decode(path: &Path, bytes: &[u8]) -> Result<SavedBy, CheckpointError> {
    let foreign = || CheckpointError::Foreign { path: path.into() };
    let damaged = |what| CheckpointError::Damaged { path: path.into(), what };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(foreign)?;
    let short = || damaged("the file is incomplete");
    let (version, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (checksum, state) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    if state.len() as u64 != u64::from_le_bytes(*length) {
        return Err(damaged("its length does not match"));
    }
    if Sha256::digest(state).as_slice() != checksum {
        return Err(damaged("its checksum does not match"));
    }
    Ok((u32::from_le_bytes(*version), state.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PluginId {
        "dev.test.counter".parse().unwrap()
    }

    fn in_dir(dir: &Path) -> Checkpoints {
        Checkpoints::in_dir(dir.join("checkpoints"))
    }

    #[test]
    fn the_last_checkpoint_is_returned_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let saved = in_dir(dir.path());
        assert_eq!(saved.last(&id()).unwrap(), None);
        saved.save(&id(), (3, b"state")).unwrap();
        assert_eq!(in_dir(dir.path()).last(&id()).unwrap(), Some((3, b"state".to_vec())));
        saved.save_durably(&id(), (4, b"later")).unwrap();
        assert_eq!(saved.last(&id()).unwrap(), Some((4, b"later".to_vec())));
        saved.remove(&id());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left in the folder");
    }

    #[test]
    fn save_succeeds_while_remove_deletes_the_empty_folder() {
        let dir = tempfile::tempdir().unwrap();
        let saved = in_dir(dir.path());
        let other: PluginId = "dev.test.other".parse().unwrap();
        std::thread::scope(|scope| {
            let saving = scope.spawn(|| {
                (0..300).try_for_each(|_| {
                    saved.save(&id(), (1, b"state"))?;
                    saved.remove(&id());
                    io::Result::Ok(())
                })
            });
            while !saving.is_finished() {
                saved.remove(&other);
            }
            saving.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_truncated_or_changed_checkpoint_is_rejected() {
        let dir = tempfile::tempdir().unwrap();
        let other = in_dir(dir.path());
        other.save(&id(), (1, &[7; 100])).unwrap();
        let good = fs::read(other.path(&id())).unwrap();
        for length in 0..good.len() {
            fs::write(other.path(&id()), &good[..length]).unwrap();
            assert!(
                other.last(&id()).is_err(),
                "a checkpoint with only its first {length} bytes is accepted"
            );
        }
        for place in (0..16).chain(HEADER_BYTES - 40..good.len()) {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(other.path(&id()), bad).unwrap();
            assert!(other.last(&id()).is_err(), "a checkpoint with a changed byte {place} is accepted");
        }
        let first = other.put_aside(&id()).unwrap();
        assert_eq!(other.last(&id()).unwrap(), None);
        other.save(&id(), (2, b"another")).unwrap();
        let second = other.put_aside(&id()).unwrap();
        assert!(first != second && first.exists() && second.exists(), "both rejected checkpoints are kept");
    }
}
