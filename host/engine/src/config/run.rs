//! The run folder of a host: the private copies of artifacts, and the crash record.
//!
//! A host holds the lock of a file in its run folder until it ends. If another process can take the lock, the host has
//! ended. A pid does not prove that a host still runs: a restarted container has the same pids as before, and two
//! containers that share a volume may each have a process with pid 7.
//!
//! The lock is a process-associated lock (`F_SETLK`), which no child process inherits, not even a forked child that
//! does not call `exec`. Such a lock is released when the process closes any descriptor of the file. Therefore no code
//! in this process opens the lock file of one of its own hosts.

use crate::process_stat::ProcessStat;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
};

/// The name of the lock file in a run folder.
const LOCK_NAME: &str = "lock";

/// Device and inode of a file.
type Identity = (u64, u64);

/// The lock files of this process's hosts.
static OWN: Mutex<BTreeSet<Identity>> = Mutex::new(BTreeSet::new());

/// A run folder, whose lock is held until this is dropped.
#[derive(Debug)]
pub(super) struct RunDir {
    path: PathBuf,
    lock: Mutex<Option<Lock>>,
}

/// The lock of a run folder.
#[derive(Debug)]
struct Lock {
    /// The open lock file. Closing it releases the lock.
    _file: File,
    identity: Identity,
}

impl Lock {
    /// Creates the lock file in a run folder, and locks it.
    fn take(run_dir: &Path, own: &mut BTreeSet<Identity>) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(run_dir.join(LOCK_NAME))?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let identity = identity(&file.metadata()?);
        own.insert(identity);
        Ok(Self { _file: file, identity })
    }
}

impl RunDir {
    /// Creates a run folder in `runs`. Calls `last_look` with the run folder of each host that has ended, and then
    /// removes that run folder.
    pub(super) fn create(runs: &Path, mut last_look: impl FnMut(&Path)) -> io::Result<Self> {
        fs::create_dir_all(runs)?;
        let mut own = OWN.lock();
        // No other host may check the new folder before this host has locked the file in it.
        let alone = File::open(runs)?;
        flock(&alone, FlockOperation::LockExclusive)?;
        for entry in fs::read_dir(runs)?.flatten() {
            let path = entry.path();
            if path.is_dir() && is_left(&path, &own) {
                last_look(&path);
                // A folder that cannot be removed does no harm.
                let _ = fs::remove_dir_all(path);
            }
        }
        let path = new_dir(runs)?;
        let lock = Lock::take(&path, &mut own)?;
        Ok(Self { path, lock: Mutex::new(Some(lock)) })
    }

    /// Creates the folder and its lock file again if the folder was removed.
    pub(super) fn renew(&self) -> io::Result<()> {
        if self.is_there() {
            return Ok(());
        }
        let (mut own, mut lock) = (OWN.lock(), self.lock.lock());
        fs::create_dir_all(&self.path)?;
        let new = Lock::take(&self.path, &mut own)?;
        if let Some(old) = lock.replace(new) {
            own.remove(&old.identity);
        }
        Ok(())
    }

    /// Whether the folder exists and belongs to this host.
    fn is_there(&self) -> bool {
        let lock = self.lock.lock();
        let is_own = |it: fs::Metadata| lock.as_ref().is_some_and(|lock| lock.identity == identity(&it));
        fs::symlink_metadata(self.path.join(LOCK_NAME)).is_ok_and(is_own)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder. Mapped files stay mapped. A FUSE file system keeps such files in the folder, with other names,
    /// until the process has exited. In this case, the process's parent or the next host removes the folder.
    pub(super) fn remove(&self) {
        // If this host's folder was removed, a host in another container may have created a folder of the same name.
        if self.is_there() {
            // If this fails, the next host removes the folder.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let mut own = OWN.lock();
        if let Some(lock) = self.lock.get_mut().take() {
            own.remove(&lock.identity);
        }
    }
}

/// Creates a folder with an unused name, which begins with the pid of this process.
fn new_dir(runs: &Path) -> io::Result<PathBuf> {
    let mut number = 1_u64;
    loop {
        let path = runs.join(format!("{}-{number}", process::id()));
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| path),
        }
    }
}

/// Whether the host of a run folder still runs, and its run folder exists.
pub(crate) fn host_lives(run_dir: &Path) -> bool {
    let own = OWN.lock();
    run_dir.join(LOCK_NAME).exists() && !is_left(run_dir, &own)
}

/// Whether the host of a run folder has ended. Returns `false` if the state of the host cannot be determined.
fn is_left(run_dir: &Path, own: &BTreeSet<Identity>) -> bool {
    let path = run_dir.join(LOCK_NAME);
    match fs::symlink_metadata(&path) {
        Ok(it) if own.contains(&identity(&it)) => false,
        Ok(_) => {
            let lock = OpenOptions::new().write(true).open(path);
            lock.is_ok_and(|lock| fcntl_lock(lock, FlockOperation::NonBlockingLockExclusive) == Ok(()))
        }
        // An earlier version of replug created the folder, or the host ended before it created the lock file.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let name = run_dir.file_name().and_then(|name| name.to_str());
            let number = name.and_then(|name| name.split_once('-')?.0.parse().ok());
            number.and_then(ProcessStat::of).is_none()
        }
        Err(_) => false,
    }
}

fn identity(file: &fs::Metadata) -> Identity {
    (file.dev(), file.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(runs: &Path) -> (RunDir, Vec<String>) {
        let mut seen = Vec::new();
        let name = |run: &Path| run.file_name().unwrap().to_string_lossy().into_owned();
        let run = RunDir::create(runs, |left| seen.push(name(left))).unwrap();
        (run, seen)
    }

    #[test]
    fn the_run_folder_of_an_ended_host_is_removed_despite_a_reused_pid() {
        let dir = tempfile::tempdir().unwrap();
        let own_number = format!("{}-1", process::id());
        let left = dir.path().join(&own_number);
        fs::create_dir(&left).unwrap();
        fs::write(left.join(LOCK_NAME), "").unwrap();
        fs::write(left.join("p-1.so"), "left").unwrap();
        let (run, seen) = create(dir.path());
        assert_eq!(seen, [own_number]);
        assert_eq!(run.path(), left, "the name is free again");
        assert!(!run.path().join("p-1.so").exists());
    }

    #[test]
    fn create_keeps_the_run_folder_of_a_live_host_in_the_same_process() {
        let dir = tempfile::tempdir().unwrap();
        let (first, _) = create(dir.path());
        let (second, seen) = create(dir.path());
        assert!(seen.is_empty() && first.path() != second.path(), "{seen:?}");
        let path = first.path().to_owned();
        drop(first);
        let (third, seen) = create(dir.path());
        assert_eq!((seen.len(), third.path()), (1, &*path), "the folder of the first host is stale");
        assert!(second.path().exists());
    }

    #[test]
    fn renew_creates_and_locks_a_removed_run_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (run, _) = create(dir.path());
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(!host_lives(run.path()));
        run.renew().unwrap();
        run.renew().unwrap();
        assert!(host_lives(run.path()));
        let (other, seen) = create(dir.path());
        assert!(seen.is_empty() && other.path() != run.path(), "{seen:?}");
        let path = run.path().to_owned();
        run.remove();
        assert!(!host_lives(&path) && host_lives(other.path()));
    }

    #[test]
    fn remove_keeps_a_folder_of_the_same_name_that_another_host_created() {
        let dir = tempfile::tempdir().unwrap();
        let (run, _) = create(dir.path());
        run.remove();
        assert!(!run.path().exists());
        fs::create_dir(run.path()).unwrap();
        fs::write(run.path().join(LOCK_NAME), "").unwrap();
        run.remove();
        assert!(run.path().exists());
    }
}
