//! Checkpoints on disk: the last saved state of each plugin that asks for it, for the host that comes after a crash.
//!
//! A file is written under another name and then put in place, so that it is there as a whole or not at all. It says
//! which process wrote it: only when that is gone without having removed it, there was a crash.

use crate::{id::PluginId, load::process::SavedBy, process_stat::ProcessStat};
use sha2::{Digest as _, Sha256};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
};

const MAGIC: &[u8; 16] = b"replug state 01\n";
const HEADER_BYTES: usize = 16 + 4 + 8 + 4 + 8 + 32;

/// Why a checkpoint is of no use.
#[derive(thiserror::Error)]
pub(crate) enum CheckpointError {
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is no checkpoint that this version of replug can read", path.display())]
    Foreign { path: PathBuf },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
}

crate::readable::readable!(CheckpointError);

/// The checkpoints in a state folder.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
    owner: Owner,
}

/// The process that wrote a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    pid: u32,
    /// See [`ProcessStat::started`].
    started: u64,
}

impl Owner {
    fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: ProcessStat::of(pid)?.started })
    }

    fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

impl Checkpoints {
    /// Those in this folder, which need not be there.
    pub(crate) fn in_dir(dir: PathBuf) -> Self {
        let pid = process::id();
        Self { dir, owner: Owner::of(pid).unwrap_or(Owner { pid, started: 0 }) }
    }

    /// What a host that is gone has left of this plugin.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`] if there is something that is of no use.
    pub(crate) fn left(&self, id: &PluginId) -> Result<Option<SavedBy>, CheckpointError> {
        let path = self.path(id);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::Unreadable { path, source }),
        };
        let (owner, saved) = decode(&path, &bytes)?;
        Ok((!owner.lives()).then_some(saved))
    }

    /// Keeps a state, in place of the one before.
    ///
    /// # Errors
    ///
    /// * What the file system says; [`io::ErrorKind::AlreadyExists`] if a host that lives keeps one for this plugin
    pub(crate) fn keep(&self, id: &PluginId, (version, state): (u32, &[u8])) -> io::Result<()> {
        if !self.may_replace(id) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::create_dir_all(&self.dir)?;
        // No id begins with a dot.
        let fresh = self.dir.join(format!(".{id}"));
        fs::write(&fresh, self.encode(version, state))?;
        fs::rename(fresh, self.path(id))
    }

    /// Removes what is kept of this plugin, unless it is another's who lives.
    pub(crate) fn remove(&self, id: &PluginId) {
        if self.may_replace(id) {
            // What is left is damaged at worst, and then says so.
            let _ = fs::remove_file(self.path(id));
            // Unless there are others in it.
            let _ = fs::remove_dir(&self.dir);
        }
    }

    /// Puts what cannot be used aside, and says where.
    pub(crate) fn put_aside(&self, id: &PluginId) -> Option<PathBuf> {
        let aside = self.dir.join(format!("{id}_refused"));
        fs::rename(self.path(id), &aside).ok().map(|()| aside)
    }

    fn may_replace(&self, id: &PluginId) -> bool {
        let Ok(bytes) = fs::read(self.path(id)) else { return true };
        decode(&self.path(id), &bytes).map_or(true, |(owner, _)| owner == self.owner || !owner.lives())
    }

    fn path(&self, id: &PluginId) -> PathBuf {
        self.dir.join(id.as_str())
    }

    fn encode(&self, version: u32, state: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + state.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.owner.pid.to_le_bytes());
        bytes.extend_from_slice(&self.owner.started.to_le_bytes());
        bytes.extend_from_slice(&version.to_le_bytes());
        bytes.extend_from_slice(&(state.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&Sha256::digest(state));
        bytes.extend_from_slice(state);
        bytes
    }
}

fn decode(path: &Path, bytes: &[u8]) -> Result<(Owner, SavedBy), CheckpointError> {
    let foreign = || CheckpointError::Foreign { path: path.into() };
    let damaged = |what| CheckpointError::Damaged { path: path.into(), what };
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(foreign)?;
    let short = || damaged("it ends too early");
    let (pid, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (started, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (version, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (length, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (checksum, state) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    if state.len() as u64 != u64::from_le_bytes(*length) {
        return Err(damaged("it is not as long as it says"));
    }
    if Sha256::digest(state).as_slice() != checksum {
        return Err(damaged("its checksum does not match"));
    }
    let owner = Owner { pid: u32::from_le_bytes(*pid), started: u64::from_le_bytes(*started) };
    Ok((owner, (u32::from_le_bytes(*version), state.to_vec())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> PluginId {
        "dev.test.counter".parse().unwrap()
    }

    /// Checkpoints as a process wrote them that is gone.
    fn left_in(dir: &Path) -> Checkpoints {
        let owner = Owner { pid: process::id(), started: 0 };
        Checkpoints { dir: dir.join("checkpoints"), owner }
    }

    #[test]
    fn what_a_dead_process_left_comes_back_and_what_a_living_one_keeps_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let left = left_in(dir.path());
        left.keep(&id(), (3, b"state")).unwrap();
        let own = Checkpoints::in_dir(dir.path().join("checkpoints"));
        assert_eq!(own.left(&id()).unwrap(), Some((3, b"state".to_vec())));
        own.keep(&id(), (4, b"later")).unwrap();
        assert_eq!(own.left(&id()).unwrap(), None, "its owner lives");
        assert_eq!(left.keep(&id(), (5, b"")).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        left.remove(&id());
        assert!(own.path(&id()).exists(), "it is not another's to remove");
        own.remove(&id());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_file_that_was_cut_or_changed_is_told_from_a_good_one() {
        let dir = tempfile::tempdir().unwrap();
        let left = left_in(dir.path());
        left.keep(&id(), (1, &[7; 100])).unwrap();
        let good = fs::read(left.path(&id())).unwrap();
        for length in 0..good.len() {
            fs::write(left.path(&id()), &good[..length]).unwrap();
            assert!(left.left(&id()).is_err(), "{length} bytes of it");
        }
        for place in (0..16).chain(HEADER_BYTES - 40..good.len()) {
            let mut bad = good.clone();
            bad[place] ^= 1;
            fs::write(left.path(&id()), bad).unwrap();
            assert!(left.left(&id()).is_err(), "byte {place} is another");
        }
        assert!(left.put_aside(&id()).is_some_and(|aside| aside.exists()));
        assert_eq!(left.left(&id()).unwrap(), None);
    }
}
