//! An attempt to install one version of a plugin: what the stages of a reload need to know about it.

use crate::{
    artifact::Held,
    error::ReloadCause,
    event::{Stage, millis},
    id::{Digest, Generation},
    lifecycle::AfterCrash,
    load::process::{SavedBy, SparePool},
    manifest::Manifest,
    overdue::{Overdue, Steps},
    registry::{Entry, Live, body::LifecycleError},
    step::Step,
};
use parking_lot::Mutex;
use replug_api::call::Death;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};

/// An attempt to install one version of a plugin.
pub(crate) struct Job {
    pub(crate) entry: Arc<Entry>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) generation: Generation,
    pub(crate) source: Source,
    /// The saved state with which the version begins, if no serving generation hands its state over.
    pub(crate) state: Option<SavedBy>,
    /// The artifacts that must not run, each with the reason.
    pub(crate) quarantined: BTreeMap<Digest, String>,
    /// The artifact that served last, kept open because its file in the store may have been removed.
    pub(crate) held: Option<Arc<Held>>,
    /// The digest of the artifact. Set as soon as it is known.
    pub(crate) artifact: Arc<OnceLock<Digest>>,
    /// Where the artifact runs if it is recorded as crashed.
    pub(crate) after_crash: AfterCrash,
    /// The artifact from which the plugin was rolled back. If the build results in it, the serving artifact is not
    /// replaced.
    pub(crate) passed_over: Option<Digest>,
    /// The version that was stopped to make room for this version (`order = "stop-first"`), if any.
    pub(crate) stopped: Arc<Mutex<Option<Stopped>>>,
    /// Processes that were started for this job in advance.
    pub(crate) spares: Option<Arc<SparePool>>,
    /// The lifecycle steps that the job runs in this process.
    pub(crate) steps: Arc<Steps>,
    /// Makes the callback for an unexpected exit of a generation's process.
    pub(crate) on_death: OnDeath,
}

impl Job {
    /// Runs one lifecycle step of the new or the old generation. The step is recorded in [`Job::steps`], which limits
    /// its duration, unless the generation enforces its own deadline for steps.
    pub(crate) fn step<T>(
        &self,
        of: (&Live, Overdue),
        run: impl FnOnce() -> Result<T, LifecycleError>,
    ) -> Result<T, ReloadCause> {
        let (live, overdue) = of;
        if live.traits().steps_have_a_deadline { Ok(run()?) } else { self.steps.take(overdue, run) }
    }
}

/// Makes the callback for an unexpected exit of a generation's process. The callback gets the cause of the exit, and
/// the last part of the process's stderr.
pub(crate) type OnDeath =
    Arc<dyn Fn((Generation, Digest)) -> Box<dyn FnOnce(Death, String) + Send> + Send + Sync>;

/// Where a version comes from.
#[derive(Clone)]
pub(crate) enum Source {
    /// The file that a build has produced. If it equals the serving artifact, no new generation is made.
    Built(PathBuf),
    /// The file that a build has produced. It becomes a new generation even if it equals the serving artifact.
    Rebuilt(PathBuf),
    /// An artifact in the store.
    Stored(Digest),
}

/// A version that was stopped to make room for the next version.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    /// The saved state of the version. `None` if the version has no state.
    pub(crate) state: Option<SavedBy>,
    /// The time at which calls began to wait.
    pub(crate) since: Instant,
}

impl Stopped {
    /// How long calls have waited, in milliseconds.
    pub(crate) fn gap_ms(&self) -> f64 {
        millis(self.since.elapsed())
    }
}

/// The save of the serving version's state, which the new version gets.
pub(crate) const SAVING: Overdue = Overdue {
    stage: Stage::Migrate,
    step: Step::Save,
    rest: "until it returns, calls wait: the state may be partly saved, and must not change",
};
