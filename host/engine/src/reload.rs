//! The path of a reload, which replaces the serving version with a new version. Only this module calls the stages, in
//! this order:
//!
//! ```text
//!  build -> store -> preflight -> load -> migrate -> swap        -> retire
//!  (async,   \______________ install ____________________/          (in the background,
//!  cancelled         (one blocking run, never cancelled)             when its last call has ended)
//!  by a newer save)
//! ```
//!
//! **Architecture invariant:** no step after the swap can fail. Until the swap, the old generation serves, and an error
//! leaves its instance, its state and its handles unchanged. The exception is `order = "stop-first"`: `stop_first.rs`
//! ends the old generation before the load.

use crate::{
    artifact::{Artifact, Facts},
    bring_up::{Candidate, Moved, Place},
    build::Built,
    context::Context,
    error::{ReloadCause, ReloadError},
    event::{EventKind, Stage, Stages, millis},
    job::{Job, SAVING, Source},
    load::in_process::restore_sigchld,
    manifest::Manifest,
    overdue::Overdue,
    preflight,
    registry::{Entry, Live, Paused, Retiring, clear_away, discard, give_back_later},
    spans,
    step::Step,
    stop_first::make_room,
};
use std::{fs, path::PathBuf, sync::Arc, time::Instant};
use tracing::{Instrument, Span};

/// The outcome of a [`Job`].
pub(crate) enum Installed {
    /// The build resulted in the serving version.
    Unchanged,
    /// The build resulted in the artifact from which the plugin was rolled back.
    PassedOver,
    /// The new generation serves. The old generation may still run calls.
    Serving {
        live: Arc<Live>,
        old: Option<Retiring>,
        /// Why the new generation does not run in this process, although its manifest prefers that.
        moved: Option<Moved>,
    },
}

/// Builds the plugin. Dropping the future kills all processes of the build.
pub(crate) async fn build(
    context: &Context,
    job: (&Entry, &Manifest),
    stages: &mut Stages,
) -> Result<Built, ReloadError> {
    let (entry, manifest) = job;
    let began = Instant::now();
    restore_sigchld();
    let report = |progress| context.settings.events.plugin(&entry.id, EventKind::BuildProgress(progress));
    let built = context.builder.build_reporting(manifest, report).instrument(spans::build()).await;
    stages.build = millis(began.elapsed());
    built.map_err(|error| failed(entry, Stage::Build)(error.into()))
}

/// Runs all stages from the store to the swap. Blocks.
pub(crate) fn install(context: &Context, job: Job, stages: &mut Stages) -> Result<Installed, ReloadError> {
    let entry = job.entry.clone();
    let at = |stage| failed(&entry, stage);

    let artifact =
        timed(spans::store(), &mut stages.store, || store(context, &job)).map_err(at(Stage::Store))?;
    // A job runs only once, so the digest is not set yet.
    let _ = job.artifact.set(artifact.digest);
    let same = entry.live().is_some_and(|live| live.digest == artifact.digest);
    if same && matches!(job.source, Source::Built(_)) {
        return Ok(Installed::Unchanged);
    }
    if job.passed_over == Some(artifact.digest) && entry.live().is_some() {
        return Ok(Installed::PassedOver);
    }
    let (facts, place, copy) =
        timed(spans::preflight(), &mut stages.preflight, || examine(context, &job, &artifact))
            .map_err(at(Stage::Preflight))?;
    let candidate = Candidate { context, job: &job, artifact: &artifact, facts: &facts, place, copy: &copy };
    let installed = launch(candidate, stages);
    if installed.is_err() {
        // The copy takes disk space, and a host that runs for days may reject many versions.
        clear_away(&copy, facts.loaded_file_bytes);
        give_back_later();
    }
    installed
}

/// Runs the trial of a version, starts the version and swaps it in.
fn launch(mut candidate: Candidate<'_>, stages: &mut Stages) -> Result<Installed, ReloadError> {
    let entry = candidate.job.entry.clone();
    let at = |stage| failed(&entry, stage);
    timed(spans::trial(), &mut stages.preflight, || candidate.try_out()).map_err(at(Stage::Preflight))?;
    let _vacant =
        timed(spans::migrate(), &mut stages.migrate, || make_room(candidate.context, candidate.job))
            .map_err(at(Stage::Migrate))?;
    let fresh = timed(spans::load(), &mut stages.load, || candidate.bring_up()).map_err(at(Stage::Load));
    let fresh = fresh.inspect_err(|_| candidate.forget_verdict())?;
    if let Err(cause) = candidate.job.steps.check() {
        give_up(fresh);
        return Err(at(Stage::Load)(cause));
    }
    match replace_old(candidate.job, &fresh, stages) {
        Ok(old) => Ok(Installed::Serving { live: fresh, old, moved: candidate.place.moved() }),
        Err(error) => {
            candidate.forget_verdict();
            give_up(fresh);
            Err(error)
        }
    }
}

fn store(context: &Context, job: &Job) -> Result<Artifact, ReloadCause> {
    // The worker of another plugin must not remove the artifact before it is in `wanted`.
    let _unpruned = context.pruning.read();
    let artifact = match &job.source {
        Source::Built(file) | Source::Rebuilt(file) => context.store.put(file)?,
        Source::Stored(digest) => match (context.store.get(*digest), &job.held) {
            (Some(artifact), _) => artifact,
            (None, Some(held)) if held.digest() == *digest => context.store.put_back(held)?,
            (None, _) => return Err(ReloadCause::NotStored(*digest)),
        },
    };
    context.wanted.lock().entry(job.entry.id.clone()).or_default().insert(artifact.digest);
    Ok(artifact)
}

fn examine(
    context: &Context,
    job: &Job,
    artifact: &Artifact,
) -> Result<(Facts, Place, PathBuf), ReloadCause> {
    let mut facts = artifact.inspect()?;
    preflight::check(artifact, &facts)?;
    let place = Place::of(context, job, (artifact, &facts))?;
    let copy = context.state.new_copy(&job.entry.id);
    context.store.private_copy(artifact, &copy)?;
    if !facts.libraries.is_empty() {
        // The copy is larger than the artifact, because the names of the artifact's libraries are appended to it.
        facts.loaded_file_bytes = fs::metadata(&copy).map_or(u64::MAX, |copy| copy.len());
    }
    Ok((facts, place, copy))
}

/// Hands the state over, if both versions have state, and swaps the new generation in.
///
/// While the state is handed over, calls wait, because the old generation must not change its state after it was saved.
/// The pause ends with this function. If a step fails, the old generation serves again.
fn replace_old(job: &Job, fresh: &Arc<Live>, stages: &mut Stages) -> Result<Option<Retiring>, ReloadError> {
    let at = |stage| failed(&job.entry, stage);
    job.entry.accepts(fresh).map_err(|mismatch| at(Stage::Load)(mismatch.into()))?;
    let paused =
        timed(spans::migrate(), &mut stages.migrate, || migrate(job, fresh)).map_err(at(Stage::Migrate))?;
    timed(spans::start(), &mut stages.load, || begin(job, fresh)).map_err(at(Stage::Load))?;
    let old =
        timed(spans::swap(), &mut stages.swap, || job.entry.publish(fresh.clone())).map_err(|mismatch| {
            stop(fresh);
            at(Stage::Swap)(mismatch.into())
        })?;
    drop(paused);
    Ok(old)
}

fn migrate(job: &Job, fresh: &Live) -> Result<Option<Paused>, ReloadCause> {
    if !fresh.stateful() {
        return Ok(None);
    }
    let Some(old) = job.entry.live() else {
        let stopped = job.stopped.lock().clone();
        let state = stopped.map_or_else(|| job.state.clone(), |stopped| stopped.state);
        if let Some((version, state)) = state {
            job.step((fresh, Overdue::fresh(Stage::Migrate, Step::Restore)), || {
                fresh.restore(version, &state)
            })?;
        }
        return Ok(None);
    };
    if !old.stateful() {
        return Ok(None);
    }
    drop(old);
    let paused = job.entry.pause(job.manifest.reload.drain_timeout)?;
    let old = paused.live();
    let state = job.step((old, SAVING), || old.save())?;
    let version = old.state_version();
    job.step((fresh, Overdue::fresh(Stage::Migrate, Step::Restore)), || fresh.restore(version, &state))?;
    Ok(Some(paused))
}

fn begin(job: &Job, fresh: &Live) -> Result<(), ReloadCause> {
    job.step((fresh, Overdue::fresh(Stage::Load, Step::Start)), || fresh.start())?;
    let refused = match job.step((fresh, Overdue::fresh(Stage::Load, Step::Health)), || fresh.health()) {
        Ok((true, _)) => match job.steps.check() {
            Ok(()) => return Ok(()),
            Err(given_up) => given_up,
        },
        Ok((false, message)) => ReloadCause::Unhealthy(message),
        Err(error) => error,
    };
    stop(fresh);
    Err(refused)
}

/// Stops a started generation that will not serve.
fn stop(fresh: &Live) {
    if let Err(error) = fresh.stop() {
        tracing::warn!("{error}");
    }
}

/// Drops the instance of a generation that was never swapped in.
fn give_up(fresh: Arc<Live>) {
    // The generation was never swapped in, so no other reference to it exists.
    if let Some(live) = Arc::into_inner(fresh) {
        discard(live);
    }
}

fn timed<T>(span: Span, stage: &mut f64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = span.in_scope(work);
    // The sum is rounded to a thousandth of a millisecond.
    *stage = ((*stage + millis(began.elapsed())) * 1e3).round() / 1e3;
    done
}

fn failed(entry: &Entry, stage: Stage) -> impl Fn(ReloadCause) -> ReloadError + use<> {
    let plugin = entry.id.clone();
    move |cause| ReloadError { plugin: plugin.clone(), stage, cause: Arc::new(cause) }
}
