//! A build: it waits for git, compiles, and begins again when something newer is to be compiled, until one compilation is
//! overtaken by nothing.

use super::{Effect, Effects, Intent, Lifecycle, Phase, Work};
use crate::watch::GRACE;
use std::time::Instant;

/// How often a build that failed is made once more because files have changed under it, in a row.
const RETRIES: u32 = 2;

/// How many builds that failed in a row ask whether something was saved while they ran.
const EARLY_FAILURES: u32 = 3;

/// How often in a row something that is still being put into the plugin's folder is waited for.
const WAITS: u32 = 100;

/// What is to come of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// A new generation, whatever is built.
    Renew,
    /// A new generation if what is built is new.
    Update,
    /// The same, but what the plugin went back from does not count as new: no one has edited it since.
    Check,
}

impl Aim {
    /// What is to come of it after an edit.
    fn edited(self) -> Self {
        // A version that was ordered is to be a new one whatever else is saved.
        if self == Self::Renew { Self::Renew } else { Self::Update }
    }
}

/// What compiling has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compiled {
    Good,
    /// Files have changed meanwhile, maybe by the build itself: it is to be made once more.
    Stale,
    /// What takes no compiler is still being put into the plugin's folder.
    Incomplete,
    /// It failed, maybe only because files were missing for a moment, or changed.
    Failed {
        may_pass: bool,
    },
}

/// A build that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Build {
    aim: Aim,
    retries: u32,
    waits: u32,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Git writes the files of a branch. What changes is compiled afterwards.
    Waiting,
    Compiling,
    /// It is found out whether a change makes the compilation pointless.
    Considering,
    /// What is missing may come back in a moment.
    Pausing,
}

impl Build {
    pub(super) fn to(aim: Aim) -> Self {
        Self { aim, retries: 0, waits: 0, stage: Stage::Waiting }
    }

    /// Whether it can be disturbed.
    pub(super) fn is_open(&self) -> bool {
        self.stage != Stage::Considering
    }

    /// Whether a change that comes now may make pointless what is done. Else it is part of what is compiled next.
    pub(super) fn is_to_consider(&mut self) -> bool {
        let compiles = self.stage == Stage::Compiling;
        if compiles {
            self.stage = Stage::Considering;
        }
        compiles
    }
}

impl Lifecycle {
    pub(super) fn build_begins(&mut self, aim: Aim) -> Effects {
        // A plugin that was stopped stays so until it is started.
        if self.intent == Intent::Rest {
            return Effects::default();
        }
        self.activity.comes_to(Phase::Build(Build::to(aim)));
        self.service.is_being_replaced();
        self.faults.build_begins();
        Effects::work(Work::WaitForGit)
    }

    /// The build that is under way continues like this.
    fn build_goes_on(&mut self, build: Build) {
        self.activity.comes_to(Phase::Build(build));
    }

    pub(super) fn git_is_quiet(&mut self) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        self.build_goes_on(Build { stage: Stage::Compiling, ..build });
        Effects::work(Work::Compile)
    }

    pub(super) fn considered(&mut self, supersedes: bool) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        if !supersedes {
            self.build_goes_on(Build { stage: Stage::Compiling, ..build });
            return Effects::default();
        }
        self.begin_again(Build { aim: build.aim.edited(), ..build })
    }

    pub(super) fn compiled(&mut self, compiled: Compiled) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        match compiled {
            Compiled::Stale => self.begin_again(build),
            Compiled::Incomplete if build.waits < WAITS => {
                self.pause(Build { waits: build.waits + 1, ..build })
            }
            Compiled::Failed { may_pass: true } if build.retries < RETRIES => {
                self.pause(Build { retries: build.retries + 1, ..build })
            }
            Compiled::Good | Compiled::Incomplete | Compiled::Failed { .. } => {
                self.build_ends();
                let renews = build.aim == Aim::Renew || self.manifests.is_pending();
                Effects::work(Work::EndBuild { aim: build.aim, renews })
            }
        }
    }

    fn pause(&mut self, build: Build) -> Effects {
        self.build_goes_on(Build { stage: Stage::Pausing, ..build });
        Effects::work(Work::Pause)
    }

    pub(super) fn pause_over(&mut self) -> Effects {
        let Some(build) = self.activity.build() else { return Effects::default() };
        self.begin_again(build)
    }

    fn begin_again(&mut self, build: Build) -> Effects {
        self.build_goes_on(Build { stage: Stage::Waiting, ..build });
        Effects::of([Effect::ReportSuperseded]).and_then(Some(Work::WaitForGit))
    }

    /// What was built is no library. If the manifest is missing, the plugin may be gone: then that is reported, and not this.
    pub(super) fn build_failed(&mut self, now: Instant, text: String, is_missing: bool) -> Effects {
        if is_missing {
            self.faults.build_is_unclear(now + GRACE);
            return Effects::default();
        }
        self.faults.build_failed(text);
        self.failed_builds += 1;
        // Until it compiles again, any file that it may read counts, and so does what was saved since the build began. But a
        // build that fails with the names of new files of its own each time must not cause the next one for ever.
        Effects::work(Work::Rewatch { since_it_began: self.failed_builds <= EARLY_FAILURES })
    }

    /// It builds no longer, and what serves is judged again.
    pub(super) fn build_ends(&mut self) {
        self.activity.comes_to(Phase::Other);
        self.service.goes_on();
    }
}
