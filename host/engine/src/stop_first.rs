//! Makes room for a version that cannot run at the same time as the previous version: `[reload] order = "stop-first"`.
//!
//! Calls wait while the old version is drained and until the new version serves. If the new version fails to start, the
//! worker starts the old artifact again, with the state that this module has saved.

use crate::{
    context::Context,
    error::ReloadCause,
    event::Stage,
    job::{Job, SAVING, Stopped},
    manifest::Order,
    overdue::Overdue,
    registry::{Vacant, body::Unmap},
    step::Step,
};
use std::time::Instant;

const STOPPING: Overdue = Overdue {
    stage: Stage::Migrate,
    step: Step::Stop,
    rest: "it may still hold a resource that the next version needs",
};

/// With `order = "stop-first"`, saves the state of the serving version, stops the version and drops its instance. A
/// failure before the stop changes nothing. With any other order, or if no version serves, does nothing.
pub(crate) fn make_room(context: &Context, job: &Job) -> Result<Option<Vacant>, ReloadCause> {
    if job.manifest.reload.order != Order::StopFirst || job.entry.live().is_none() {
        return Ok(None);
    }
    let since = Instant::now();
    let paused = job.entry.pause(job.manifest.reload.drain_timeout)?;
    let old = paused.live();
    let (generation, digest) = (old.generation, old.digest);
    let state = if old.stateful() {
        Some((old.state_version(), job.step((old, SAVING), || old.save())?))
    } else {
        None
    };
    job.steps.check()?;
    let Some((vacant, retiring)) = paused.vacate() else {
        return Err(ReloadCause::Bug("the pause of the old version has ended too early".into()));
    };
    *job.stopped.lock() = Some(Stopped { generation, digest, state, since });
    job.steps.take(STOPPING, || {
        context.retire(retiring, Unmap::Never);
        Ok::<_, ReloadCause>(())
    })?;
    Ok(Some(vacant))
}
