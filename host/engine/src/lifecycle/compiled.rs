//! The result of a compilation: whether another program is still copying files of the plugin, and whether a failed
//! compilation may succeed at another attempt.

use crate::{build::OwnWrites, watch::GRACE};
use std::time::SystemTime;

/// What the worker has observed after a compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compiled {
    /// Whether the manifest is missing.
    pub(crate) is_missing: bool,
    /// A file that the build requires and that another program makes. `None` if the compilation does not depend on such
    /// a file.
    pub(crate) needed: Option<NeededFile>,
    /// The failure. `None` if there is a library.
    pub(crate) failure: Option<CompileFailure>,
}

/// A file that the build requires and that another program makes: a prebuilt library, or `Cargo.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NeededFile {
    /// Whether the file exists and has the length that its headers describe.
    pub(crate) is_complete: bool,
    /// The time of the last change of the file, or of the folder from which it is missing. `None` if this time cannot
    /// be compared with the host's clock.
    pub(crate) changed: Option<SystemTime>,
    /// The time of the last change of the manifest.
    pub(crate) manifest_changed: Option<SystemTime>,
    /// The time of the observation.
    pub(crate) at: SystemTime,
}

/// Why a compilation has produced no library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CompileFailure {
    pub(crate) timed_out: bool,
    /// Whether an input is missing or empty now, but was not when the inputs were determined.
    pub(crate) lacks_input: bool,
    /// For each input that has changed since the compilation began: whether the build may have written it.
    pub(crate) changed: Vec<OwnWrites>,
}

/// The result of a compilation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompileOutcome {
    Good,
    /// Another program is still copying files into the plugin's folder.
    Incomplete,
    /// The compilation has failed, and another attempt may succeed.
    MayPass,
    Failed,
}

impl Compiled {
    /// Classifies the result of a compilation that began at this time.
    pub(super) fn outcome(&self, began: Option<SystemTime>) -> CompileOutcome {
        let is_incomplete = self.needed.as_ref().zip(began).is_some_and(|(file, began)| file.arrives(began));
        match &self.failure {
            // Without a manifest, the plugin may have been removed. Discovery decides that.
            _ if is_incomplete && !self.is_missing => CompileOutcome::Incomplete,
            None => CompileOutcome::Good,
            Some(failure) if failure.may_pass() && !self.is_missing => CompileOutcome::MayPass,
            Some(_) => CompileOutcome::Failed,
        }
    }
}

impl NeededFile {
    /// Whether another program is probably still copying the file. Two conditions must hold: the file is not complete,
    /// and the last change of the file or the manifest was at most [`GRACE`] before the compilation began. The end of
    /// the compilation does not matter, because a compilation can take longer than [`GRACE`].
    fn arrives(&self, began: SystemTime) -> bool {
        // The manifest may be incomplete, too, and name a different file when it is complete.
        let changed = self.changed.max(self.manifest_changed);
        // The clock of a file server may be ahead of this machine's.
        let changed = changed.filter(|changed| *changed <= self.at);
        // A change since the compilation began counts as a change at its beginning.
        let is_recent = |changed| began.duration_since(changed).unwrap_or_default() < GRACE;
        !self.is_complete && changed.is_some_and(is_recent)
    }
}

impl CompileFailure {
    /// Whether the compilation may have failed only because files were missing or changed while it ran.
    fn may_pass(&self) -> bool {
        !self.timed_out && (self.lacks_input || self.changed.contains(&OwnWrites::None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BEGAN: SystemTime = SystemTime::UNIX_EPOCH;

    fn at(millis: i64) -> SystemTime {
        let distance = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 { BEGAN - distance } else { BEGAN + distance }
    }

    /// A truncated library, observed two seconds after the compilation began. `changed` and `manifest_changed` are the
    /// times at which the library and the manifest last changed, in milliseconds after the compilation began.
    fn truncated(changed: i64, manifest_changed: i64) -> Compiled {
        let (changed, manifest_changed) = (Some(at(changed)), Some(at(manifest_changed)));
        let needed = NeededFile { is_complete: false, changed, manifest_changed, at: at(2000) };
        Compiled { is_missing: false, needed: Some(needed), failure: None }
    }

    fn failure(lacks_input: bool, changed: &[OwnWrites]) -> Compiled {
        let failure = CompileFailure { timed_out: false, lacks_input, changed: changed.to_vec() };
        Compiled { is_missing: false, needed: None, failure: Some(failure) }
    }

    fn outcome(compiled: &Compiled) -> CompileOutcome {
        compiled.outcome(Some(BEGAN))
    }

    #[test]
    fn a_truncated_library_is_incomplete_while_it_or_its_manifest_changes() {
        for (changed, manifest_changed) in [(-299, -9000), (1500, -9000), (-9000, -299), (-300, 100)] {
            let compiled = truncated(changed, manifest_changed);
            assert_eq!(outcome(&compiled), CompileOutcome::Incomplete, "{changed} {manifest_changed}");
        }
        assert_eq!(outcome(&truncated(-300, -300)), CompileOutcome::Good, "preflight rejects it");
        assert_eq!(
            outcome(&truncated(2001, -9000)),
            CompileOutcome::Good,
            "a time in the future proves nothing"
        );
        assert_eq!(truncated(1500, -9000).outcome(None), CompileOutcome::Good, "no compilation has begun");
    }

    #[test]
    fn a_missing_library_fails_unless_its_folder_or_the_manifest_changes() {
        let missing = |changed, manifest_changed| Compiled {
            failure: failure(false, &[]).failure,
            ..truncated(changed, manifest_changed)
        };
        assert_eq!(outcome(&missing(-9000, -9000)), CompileOutcome::Failed);
        assert_eq!(outcome(&missing(-100, -9000)), CompileOutcome::Incomplete);
        assert_eq!(outcome(&missing(-9000, -100)), CompileOutcome::Incomplete);
        let removed = Compiled { is_missing: true, ..missing(-9000, -100) };
        assert_eq!(outcome(&removed), CompileOutcome::Failed, "the manifest is missing");
    }

    #[test]
    fn a_complete_library_is_good_however_new_it_is() {
        let mut compiled = truncated(1500, 1500);
        compiled.needed.iter_mut().for_each(|file| file.is_complete = true);
        assert_eq!(outcome(&compiled), CompileOutcome::Good);
    }

    #[test]
    fn a_failed_build_may_succeed_later_if_files_are_missing_or_edited() {
        let by_the_build = [OwnWrites::Possible, OwnWrites::Unordered, OwnWrites::Until(BEGAN)];
        assert_eq!(outcome(&failure(false, &[])), CompileOutcome::Failed);
        assert_eq!(outcome(&failure(false, &by_the_build)), CompileOutcome::Failed);
        assert_eq!(outcome(&failure(true, &[])), CompileOutcome::MayPass);
        assert_eq!(
            outcome(&failure(false, &[OwnWrites::Possible, OwnWrites::None])),
            CompileOutcome::MayPass
        );
    }

    #[test]
    fn a_failed_build_is_final_without_a_manifest_or_after_a_timeout() {
        let mut compiled = failure(true, &[OwnWrites::None]);
        assert_eq!(outcome(&Compiled { is_missing: true, ..compiled.clone() }), CompileOutcome::Failed);
        compiled.failure.iter_mut().for_each(|failure| failure.timed_out = true);
        assert_eq!(outcome(&compiled), CompileOutcome::Failed);
    }
}
