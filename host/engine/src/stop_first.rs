//! Makes room for a version that cannot run at the same time as the previous version: `[reload] order = "stop-first"`.
//!
//! Calls wait while the old version is drained and until the new version serves. If the new version fails to start, the
//! worker starts the old artifact again, with the state that this module has saved.

use crate::{
    error::ReloadCause,
    event::{Stage, millis},
    id::{Digest, Generation},
    load::process::SavedBy,
    manifest::Order,
    overdue::Overdue,
    registry::{Vacant, body::Unmap},
    reload::{Context, Job, SAVING, retire, step},
    step::Step,
};
use std::time::Instant;

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

const STOPPING: Overdue = Overdue {
    stage: Stage::Migrate,
    step: Step::Stop,
    rest: "it may still hold a resource that the next version needs",
};

/// Saves the state of the serving version, stops the version and drops its instance, if the manifest requires that
/// before the next version is created. A failure before the stop changes nothing.
pub(crate) fn make_room(context: &Context, job: &Job) -> Result<Option<Vacant>, ReloadCause> {
    if job.manifest.reload.order != Order::StopFirst || job.entry.live().is_none() {
        return Ok(None);
    }
    let since = Instant::now();
    let paused = job.entry.pause(job.manifest.reload.drain_timeout)?;
    let old = paused.live();
    let (generation, digest) = (old.generation, old.digest);
    let state = if old.stateful() {
        Some((old.state_version(), step(job, (old, SAVING), || old.save())?))
    } else {
        None
    };
    job.steps.check()?;
    let Some((vacant, retiring)) = paused.vacate() else {
        return Err(ReloadCause::Bug("the pause of the old version has ended too early".into()));
    };
    *job.stopped.lock() = Some(Stopped { generation, digest, state, since });
    job.steps.take(STOPPING, || {
        retire(context, retiring, Unmap::Never);
        Ok::<_, ReloadCause>(())
    })?;
    Ok(Some(vacant))
}
