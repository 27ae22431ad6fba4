//! The simulated results of compilations.

use super::World;
use crate::{
    build::OwnWrites,
    lifecycle::{CompileFailure, Compiled, NeededFile},
};
use std::time::{Duration, SystemTime};

/// How a simulated compilation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompileEnd {
    Good,
    /// A prebuilt library, or the folder of the plugin, is still being copied.
    Incomplete,
    /// Another attempt may succeed.
    MayPass,
    Failed,
}

/// A file counts as being copied if it has changed within this time, in milliseconds.
const COPIES: u64 = 300;

impl World {
    /// A random result of a compilation, and the observations that a worker makes after such a result.
    pub(super) fn compilation_ends(&mut self) -> (Compiled, CompileEnd) {
        let ended = match self.dice.below(8) {
            _ if self.calm => CompileEnd::Good,
            0 => CompileEnd::Failed,
            1..3 => CompileEnd::MayPass,
            3 => CompileEnd::Incomplete,
            _ => CompileEnd::Good,
        };
        let is_missing =
            ended != CompileEnd::Incomplete && ended != CompileEnd::MayPass && self.dice.chance(1, 4);
        let needed = match ended {
            CompileEnd::Incomplete => Some(self.copied_file()),
            // Without a manifest, no file counts as being copied.
            _ if is_missing && self.dice.chance(1, 2) => Some(self.copied_file()),
            _ => self.dice.chance(1, 4).then(|| self.settled_file()),
        };
        let failure = match ended {
            CompileEnd::Good => None,
            CompileEnd::Incomplete => self.dice.chance(1, 2).then(|| self.final_failure(true)),
            CompileEnd::MayPass => Some(self.passing_failure()),
            CompileEnd::Failed => Some(self.final_failure(is_missing)),
        };
        (Compiled { is_missing, needed, failure }, ended)
    }

    /// When the compilation began.
    fn began(&self) -> SystemTime {
        self.machine.compile_began().expect("a compilation has ended")
    }

    /// A file that is being copied, or that the manifest will name when it is complete.
    fn copied_file(&mut self) -> NeededFile {
        let (began, at) = (self.began(), self.wall());
        let recent = match self.dice.chance(1, 2) {
            true => began - Duration::from_millis(self.dice.below(COPIES)),
            false => began + self.dice.up_to(at.duration_since(began).unwrap_or_default()),
        };
        let old = began - Duration::from_secs(1 + self.dice.below(100));
        let (changed, manifest_changed) = if self.dice.chance(1, 2) { (recent, old) } else { (old, recent) };
        NeededFile {
            is_complete: false,
            changed: Some(changed),
            manifest_changed: Some(manifest_changed),
            at,
        }
    }

    /// A file that is complete, or that has not changed for a while, or whose time proves nothing.
    fn settled_file(&mut self) -> NeededFile {
        let (copied, old) = (self.copied_file(), self.began() - Duration::from_millis(COPIES));
        let rest = NeededFile { changed: Some(old), manifest_changed: Some(old), ..copied };
        match self.dice.below(4) {
            0 => NeededFile { is_complete: true, ..copied },
            1 => NeededFile { changed: Some(copied.at + Duration::from_millis(1)), ..rest },
            2 => NeededFile { changed: None, manifest_changed: None, ..rest },
            _ => rest,
        }
    }

    /// A failure because files were missing, or because a user has saved one.
    fn passing_failure(&mut self) -> CompileFailure {
        let lacks_input = self.dice.chance(1, 2);
        let mut changed = self.own_changes();
        if !lacks_input {
            changed.insert(self.dice.below(changed.len() as u64 + 1) as usize, OwnWrites::None);
        }
        CompileFailure { timed_out: false, lacks_input, changed }
    }

    /// A failure after which the build is not repeated. If the manifest `is_missing`, this can be any failure.
    fn final_failure(&mut self, is_missing: bool) -> CompileFailure {
        match self.dice.chance(1, 2) {
            true if is_missing => self.passing_failure(),
            true => CompileFailure { timed_out: true, ..self.passing_failure() },
            false => CompileFailure { timed_out: false, lacks_input: false, changed: self.own_changes() },
        }
    }

    /// Changes that the build may have made itself.
    fn own_changes(&mut self) -> Vec<OwnWrites> {
        let own = [OwnWrites::Possible, OwnWrites::Unordered, OwnWrites::Until(self.began())];
        (0..self.dice.below(3)).map(|_| own[self.dice.below(3) as usize]).collect()
    }
}
