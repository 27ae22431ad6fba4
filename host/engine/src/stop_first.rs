//! Makes room for a version that cannot run at the same time as the previous one: `[reload] order = "stop-first"`.
//!
//! Calls wait from when the old version is drained until the new one serves. If the new one does not start, the worker
//! starts the old artifact again, with the state that was saved here.

use crate::{
    body::Unmap,
    error::ReloadCause,
    event::{Stage, millis},
    id::{Digest, Generation},
    load::process::SavedBy,
    manifest::Order,
    overdue::Overdue,
    registry::Vacant,
    reload::{Context, Job, SAVING, retire, step},
    step::Step,
};
use std::time::Instant;

/// A version that was stopped to make room for the next one.
#[derive(Clone, Debug)]
pub(crate) struct Stopped {
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
    /// Its saved state, if it has one.
    pub(crate) state: Option<SavedBy>,
    /// Since when calls wait.
    pub(crate) since: Instant,
}

impl Stopped {
    /// How many milliseconds calls have waited.
    pub(crate) fn gap_ms(&self) -> f64 {
        millis(self.since.elapsed())
    }
}

const STOPPING: Overdue = Overdue {
    stage: Stage::Migrate,
    step: Step::Stop,
    rest: "it may still hold what the next version needs",
};

/// Saves, stops and drops the serving version, if the manifest asks for that before the next one is created. A failure
/// before the stop leaves the version as it was.
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
        return Err(ReloadCause::Bug("the pause has ended meanwhile".into()));
    };
    *job.stopped.lock() = Some(Stopped { generation, digest, state, since });
    job.steps.take(STOPPING, || {
        retire(context, retiring, Unmap::Never);
        Ok::<_, ReloadCause>(())
    })?;
    Ok(Some(vacant))
}
