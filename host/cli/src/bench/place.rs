//! The folder that contains the state folders of the hosts of `replug bench`.

use super::report::Lane;
use crate::error::CliError;
use replug_model::limits::LaneKind;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The ways to reach the plugin that are measured: in process, and over each lane to a child process.
pub(super) const LANES: [Lane; 3] =
    [Lane::InProcess, Lane::Child(LaneKind::SharedMemory), Lane::Child(LaneKind::Socket)];

/// The folder `bench` in the state folder. It is locked while a measurement runs, because two measurements at once
/// would disturb each other, and is removed at the end.
pub(super) struct BenchDir {
    path: PathBuf,
    _lock: File,
}

impl BenchDir {
    pub(super) fn create(state_dir: &Path) -> Result<Self, CliError> {
        let path = state_dir.join("bench");
        let io = CliError::io("cannot use", &path, "give another folder with `--state-dir`");
        fs::create_dir_all(&path).map_err(&io)?;
        let lock = File::open(&path).map_err(&io)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let text = "another `replug bench` measures a plugin of this folder: wait for its end";
                return Err(CliError::Refused(text.into()));
            }
            Err(error) => return Err(io(error.into())),
        }
        // A measurement that was killed has left its state folders.
        for lane in LANES {
            let left = path.join(lane.folder());
            if left.exists() {
                fs::remove_dir_all(&left).map_err(&io)?;
            }
        }
        Ok(Self { path, _lock: lock })
    }

    /// The state folder of the host whose calls use this lane. Each host has its own, so that the instances do not share
    /// the plugin's data folder.
    pub(super) fn of(&self, lane: Lane) -> PathBuf {
        self.path.join(lane.folder())
    }
}

impl Drop for BenchDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next measurement.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_measurement_uses_the_folder_and_removes_it() {
        let state = tempfile::tempdir().unwrap();
        let dir = BenchDir::create(state.path()).unwrap();
        fs::create_dir(dir.of(LANES[1])).unwrap();
        assert!(BenchDir::create(state.path()).is_err());
        assert!(dir.of(LANES[1]).exists(), "a rejected measurement changes nothing");
        drop(dir);
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_measurement_has_left_is_removed() {
        let state = tempfile::tempdir().unwrap();
        let left = state.path().join("bench/shared-memory/data");
        fs::create_dir_all(&left).unwrap();
        let _dir = BenchDir::create(state.path()).unwrap();
        assert!(!left.exists());
    }
}
