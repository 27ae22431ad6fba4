//! The build of a plugin: it waits until git has stopped writing files, and then compiles. If a newer change supersedes
//! the compilation, or the compilation fails because files are missing, the build begins again.

use super::{
    Compiled, Effect, Effects, Intent, Lifecycle, ManifestFile, Phase, Work, compiled::CompileOutcome,
};
use crate::{
    record::How,
    watch::{Change, GRACE},
};
use std::time::{Instant, SystemTime};

/// The maximum number of times that a failed build is repeated because files were missing or changed while it ran.
const RETRIES: u32 = 2;

/// After this many consecutive failed builds, changes that were saved during a build no longer cause the next build.
const EARLY_FAILURES: u32 = 3;

/// The maximum number of times that a build waits for a library that is still being copied into the plugin's folder.
const WAITS: u32 = 100;

/// The purpose of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// A new generation in any case.
    Renew,
    /// A new generation if the result is new.
    Update,
    /// Like `Update`, but a version that was rolled back does not count as new, because its source has not been edited
    /// since.
    Check,
}

impl Aim {
    /// The aim after an edit.
    fn edited(self) -> Self {
        // A command that requires a new generation still requires it after an edit.
        if self == Self::Renew { Self::Renew } else { Self::Update }
    }
}

/// A build that is in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Build {
    aim: Aim,
    retries: u32,
    waits: u32,
    stage: BuildStage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BuildStage {
    /// The build waits until git has stopped writing files, for example for a checkout.
    Waiting,
    Compiling,
    /// A file has changed during the compilation. The worker looks at the file, and the lifecycle decides whether the
    /// change supersedes the compilation. `again`: the worker looks for the second time, because the file may have its
    /// previous content again.
    Considering {
        again: bool,
    },
    /// The worker determines the result of the compilation.
    Examining,
    /// The build waits, because missing files may be written again.
    Pausing,
}

impl Build {
    /// A new build with this aim.
    pub(super) fn to(aim: Aim) -> Self {
        Self { aim, retries: 0, waits: 0, stage: BuildStage::Waiting }
    }

    /// Whether other commands and work may interrupt the build.
    pub(super) fn is_open(&self) -> bool {
        !matches!(self.stage, BuildStage::Considering { .. } | BuildStage::Examining)
    }

    /// Returns whether a change that occurs now may supersede the compilation. If it may, begins to consider the
    /// change. Otherwise, the next compilation includes the change.
    pub(super) fn is_to_consider(&mut self) -> bool {
        let compiles = self.stage == BuildStage::Compiling;
        if compiles {
            self.stage = BuildStage::Considering { again: false };
        }
        compiles
    }

    /// Whether the worker looks at the changed file for the second time.
    pub(super) fn considers_again(&self) -> bool {
        self.stage == BuildStage::Considering { again: true }
    }

    pub(super) fn is_to_consider_again(self) -> Self {
        Self { stage: BuildStage::Considering { again: true }, ..self }
    }

    pub(super) fn compiles(self) -> Self {
        Self { stage: BuildStage::Compiling, ..self }
    }

    pub(super) fn is_examined(self) -> Self {
        Self { stage: BuildStage::Examining, ..self }
    }

    /// This build, with the aim that it has after an edit.
    pub(super) fn for_an_edit(self) -> Self {
        Self { aim: self.aim.edited(), ..self }
    }
}

impl Lifecycle {
    /// Begins a build of a plugin that should run.
    pub(super) fn build_begins(&mut self, aim: Aim) -> Effects {
        // A stopped plugin is not built until it is started.
        if self.intent == Intent::Rest {
            return Effects::default();
        }
        self.activity.comes_to(Phase::Build(Build::to(aim)));
        self.service.is_being_replaced();
        self.faults.build_begins();
        Effects::work(Work::WaitForGit)
    }

    /// Replaces the state of the build that is in progress.
    pub(super) fn build_goes_on(&mut self, build: Build) {
        self.activity.comes_to(Phase::Build(build));
    }

    /// Begins the compilation, at the time `at`. First, the manifest is read if that is necessary: its change was held
    /// during an earlier build, or was dropped by a stop.
    pub(super) fn git_is_quiet(&mut self, at: SystemTime, file: ManifestFile) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        self.overlap.build_begins(at);
        self.build_goes_on(build.compiles());
        Effects::work(Work::Compile { reads_manifest: self.has_to_read(file) })
    }

    /// Decides whether the build ends or pauses.
    pub(super) fn compiled(&mut self, compiled: &Compiled) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        match compiled.outcome(self.compile_began()) {
            CompileOutcome::Incomplete if build.waits < WAITS => {
                self.pause(Build { waits: build.waits + 1, ..build })
            }
            CompileOutcome::MayPass if build.retries < RETRIES => {
                self.pause(Build { retries: build.retries + 1, ..build })
            }
            CompileOutcome::Good
            | CompileOutcome::Incomplete
            | CompileOutcome::MayPass
            | CompileOutcome::Failed => {
                self.build_ends();
                let renews = build.aim == Aim::Renew || self.manifests.is_pending();
                let is_check = build.aim == Aim::Check;
                let passes_over = self.history.rolled_back_from().filter(|_| is_check);
                Effects::work(Work::EndBuild { aim: build.aim, renews, passes_over })
            }
        }
    }

    fn pause(&mut self, build: Build) -> Effects {
        self.build_goes_on(Build { stage: BuildStage::Pausing, ..build });
        Effects::work(Work::Pause)
    }

    pub(super) fn pause_over(&mut self) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        self.begin_again(build, None)
    }

    /// Begins the build again because of this change or, if there is none, because files were missing. Reports that.
    pub(super) fn begin_again(&mut self, build: Build, by: Option<Change>) -> Effects {
        self.build_goes_on(Build { stage: BuildStage::Waiting, ..build });
        Effects::of([Effect::ReportSuperseded { by }]).and_then(Some(Work::WaitForGit))
    }

    /// The build has produced no library. If the manifest is missing, too, the plugin may have been removed. In that
    /// case, the removal is reported instead of the failed build.
    pub(super) fn build_failed(&mut self, now: Instant, text: String, is_missing: bool) -> Effects {
        if is_missing {
            self.faults.build_is_unclear(now + GRACE, text);
            return Effects::default();
        }
        self.faults.build_failed(text);
        self.failed_builds += 1;
        // Until the source compiles again, a change of any file that the build may read triggers a build. After the
        // first failures, this includes changes that were made while the failed build ran. After later failures, it
        // does not: a build that writes new files and then fails would otherwise trigger builds endlessly.
        let report = self.report_time_in_start(How::Built);
        Effects::work(Work::Rewatch { since_it_began: self.failed_builds <= EARLY_FAILURES, report })
    }

    /// The build has ended, and `confirm` watches the calls of the serving version again.
    pub(super) fn build_ends(&mut self) {
        self.activity.comes_to(Phase::Other);
        self.service.goes_on();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lifecycle::{CommandKind, Contents, Input, NeededFile, Past, Processes, Ticket},
        manifest,
    };
    use std::{fs, sync::Arc};

    fn lifecycle() -> Lifecycle {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("plugin.toml"), "id = 'dev.test.build'\n").unwrap();
        let manifest = Arc::new(manifest::read(folder.path()).unwrap());
        Lifecycle::new(manifest, Past::default(), (Processes::Possible, 1))
    }

    #[test]
    fn a_build_reads_a_repaired_manifest_and_reports_an_error_in_it_only_once() {
        let mut lifecycle = lifecycle();
        let (now, at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        lifecycle.step(now, Input::Wanted);
        lifecycle.step(now, Input::Command(Ticket(0), CommandKind::Client));
        let mut reads = |error: Option<&str>, file| {
            if let Some(error) = error {
                lifecycle.step(now, Input::ManifestUnusable(error.into()));
            }
            lifecycle.step(now, Input::Build(Aim::Update));
            match lifecycle.step(now, Input::GitIsQuiet { at, file }).then {
                Some(Work::Compile { reads_manifest }) => reads_manifest,
                other => panic!("{other:?}"),
            }
        };
        assert!(!reads(None, ManifestFile::AsRead) && !reads(None, ManifestFile::Missing));
        assert!(reads(None, ManifestFile::Edited) && reads(None, ManifestFile::Unreadable));
        assert!(!reads(Some("no id"), ManifestFile::Unreadable), "the error was reported");
        assert!(!reads(None, ManifestFile::Missing));
        assert!(reads(None, ManifestFile::Edited), "it was repaired");
        assert!(reads(None, ManifestFile::AsRead), "it was repaired by an undo");
    }

    #[test]
    fn a_build_waits_a_limited_number_of_times_for_a_library() {
        let mut lifecycle = lifecycle();
        let (now, at) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut step = |input| lifecycle.step(now, input).then;
        step(Input::Wanted);
        step(Input::Command(Ticket(0), CommandKind::Client));
        let mut work = step(Input::Build(Aim::Update));
        // The library is being copied, and the copy never ends.
        let needed = NeededFile { is_complete: false, changed: Some(at), manifest_changed: None, at };
        let compiled = Compiled { is_missing: false, needed: Some(needed), failure: None };
        for waits in 0.. {
            assert!(waits <= WAITS, "the build still waits");
            assert_eq!(work, Some(Work::WaitForGit));
            let compiles = step(Input::GitIsQuiet { at, file: ManifestFile::AsRead });
            assert_eq!(compiles, Some(Work::Compile { reads_manifest: false }));
            let examines = step(Input::CompilerEnded { at, contents: Contents::new() });
            assert_eq!(examines, Some(Work::Examine { reads_manifest: false }));
            match step(Input::Compiled(compiled.clone())) {
                Some(Work::Pause) => work = step(Input::PauseOver),
                Some(Work::EndBuild { .. }) => return assert_eq!(waits, WAITS),
                other => panic!("{other:?}"),
            }
        }
    }
}
