//! Determines when a source tree is complete: no branch switch is in progress, and no file is temporarily missing.

use super::{CLOCK_GRAIN, Inputs, paths::files_below};
use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How often to check whether git has finished.
const STEP: Duration = Duration::from_millis(5);

/// The lock files of git for which a wait has timed out. Later waits ignore them.
#[derive(Debug, Default)]
pub struct StaleLocks(BTreeSet<Lock>);

/// A lock file of git. A later lock file at the same path may have the same inode number, but it has another ctime.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Lock {
    path: PathBuf,
    inode: u64,
    changed: (i64, i64),
}

impl Lock {
    /// The lock file at `path`, or `None` if there is no file.
    fn at(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        let changed = (found.ctime(), found.ctime_nsec());
        Some(Self { path: path.to_owned(), inode: found.ino(), changed })
    }
}

impl StaleLocks {
    /// The default time limit for waiting for git: a killed git process leaves its lock file behind forever.
    pub const PATIENCE: Duration = Duration::from_secs(10);

    /// Waits until no git process writes to the repositories that contain `folders`, but no longer than `patience`.
    /// Returns the lock files that exist after that time. They are probably left over from killed git processes.
    pub async fn wait_for_git(&mut self, folders: &BTreeSet<PathBuf>, patience: Duration) -> Vec<PathBuf> {
        let locks: BTreeSet<_> = folders.iter().flat_map(|folder| index_locks(folder)).collect();
        let began = Instant::now();
        let mut waited = false;
        loop {
            let held = locks.iter().filter_map(|path| Lock::at(path));
            let held: Vec<_> = held.filter(|lock| !self.0.contains(lock)).collect();
            if held.is_empty() {
                break;
            }
            if began.elapsed() > patience {
                self.0.extend(held.iter().cloned());
                return held.into_iter().map(|lock| lock.path).collect();
            }
            waited = true;
            sleep(STEP).await;
        }
        if waited {
            // After this pause, the mtimes of all files that git wrote are older than the start of the next build.
            sleep(CLOCK_GRAIN * 2).await;
        }
        Vec::new()
    }
}

/// The lock files of git for the working trees of all repositories that contain this folder.
fn index_locks(folder: &Path) -> Vec<PathBuf> {
    let gits = folder.ancestors().map(|it| it.join(".git"));
    let dirs = gits.filter_map(|git| match fs::metadata(&git).ok()?.is_dir() {
        true => Some(git),
        // A worktree or a submodule: the file `.git` names git's folder.
        false => {
            let text = fs::read_to_string(&git).ok()?;
            Some(git.parent()?.join(text.strip_prefix("gitdir:")?.trim()))
        }
    });
    dirs.map(|dir| dir.join("index.lock")).collect()
}

/// A snapshot of all files of some inputs: the ctime and size of each file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamps(BTreeMap<PathBuf, Option<(i64, i64, u64)>>);

impl Stamps {
    /// Takes a snapshot of all files of `inputs`.
    pub fn of(inputs: &Inputs) -> Self {
        let mut files = inputs.files.clone();
        files.extend(files_below(inputs, |_| Ok::<_, Infallible>(())).unwrap_or_default());
        let stamp = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.ctime(), found.ctime_nsec(), found.len()))
        };
        Self(files.into_iter().map(|path| (path.clone(), stamp(&path))).collect())
    }

    /// The files that differ between this snapshot and the later snapshot `now`.
    pub fn differing(&self, now: &Self) -> BTreeSet<PathBuf> {
        let paths: BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        let of = |stamps: &Self, path: &PathBuf| stamps.0.get(path).copied().flatten();
        paths.into_iter().filter(|path| of(self, path) != of(now, path)).cloned().collect()
    }

    /// Whether a file that is not empty in the earlier snapshot `then` is missing or empty in this snapshot.
    pub fn lacks_any_of(&self, then: &Self) -> bool {
        let holds = |stamps: &Self, path: &PathBuf| {
            stamps.0.get(path).copied().flatten().is_some_and(|(_, _, bytes)| bytes > 0)
        };
        then.0.keys().any(|path| holds(then, path) && !holds(self, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wait_for_git_waits_for_the_lock_of_a_repository_or_worktree() {
        let dir = tempfile::tempdir().unwrap();
        let (repository, worktree) = (dir.path().join("repository"), dir.path().join("worktree"));
        let kept = repository.join(".git/worktrees/it");
        fs::create_dir_all(&kept).unwrap();
        fs::create_dir_all(worktree.join("plugins/one")).unwrap();
        fs::write(worktree.join(".git"), "gitdir: ../repository/.git/worktrees/it\n").unwrap();
        for (folder, lock) in [
            (repository.join("plugins"), repository.join(".git/index.lock")),
            (worktree.join("plugins/one"), kept.join("index.lock")),
        ] {
            fs::write(&lock, "").unwrap();
            let folders: BTreeSet<_> = [folder].into();
            let mut locks = StaleLocks::default();
            let waiting = locks.wait_for_git(&folders, StaleLocks::PATIENCE);
            tokio::pin!(waiting);
            tokio::select! {
                biased;
                _ = &mut waiting => panic!("the wait returned while the lock existed"),
                () = std::future::ready(()) => fs::remove_file(&lock).unwrap(),
            }
            assert!(waiting.await.is_empty());
        }
    }

    #[tokio::test]
    async fn wait_for_git_waits_only_once_for_a_lock_file_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".git")).unwrap();
        let lock = dir.path().join(".git/index.lock");
        fs::write(&lock, "").unwrap();
        let folders: BTreeSet<_> = [dir.path().join("plugins")].into();
        let mut locks = StaleLocks::default();
        assert_eq!(locks.wait_for_git(&folders, STEP).await, std::slice::from_ref(&lock));
        assert!(locks.wait_for_git(&folders, STEP).await.is_empty());
        // A changed lock file counts as a new lock, even with the same inode number, so the wait begins again.
        fs::write(&lock, "another").unwrap();
        assert_eq!(locks.wait_for_git(&folders, STEP).await, [lock]);
    }

    #[test]
    fn stamps_differ_for_new_deleted_and_changed_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("src")).unwrap();
        fs::write(at("src/lib.rs"), "one").unwrap();
        fs::write(at("Cargo.toml"), "[package]").unwrap();
        let inputs = Inputs {
            files: [at("Cargo.toml"), at("build.rs")].into(),
            dirs: [at("src")].into(),
            ..Inputs::default()
        };
        let before = Stamps::of(&inputs);
        assert_eq!(before.differing(&Stamps::of(&inputs)), BTreeSet::new());
        fs::write(at("src/new.rs"), "new").unwrap();
        fs::remove_file(at("Cargo.toml")).unwrap();
        let now = Stamps::of(&inputs);
        assert_eq!(before.differing(&now), [at("Cargo.toml"), at("src/new.rs")].into());
        assert!(now.lacks_any_of(&before) && !before.lacks_any_of(&before));
    }
}
