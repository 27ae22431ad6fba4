//! The path of a reload, which replaces the serving version by a new version. Only this module calls the stages, in this
//! order:
//!
//! ```text
//!  build -> store -> preflight -> load -> migrate -> swap        -> retire
//!  (async,   \______________ install ____________________/          (in the background,
//!  cancelled         (one blocking run, never cancelled)             when its last call has ended)
//!  by a newer save)
//! ```
//!
//! **Architecture invariant:** the swap is the last step that can fail. Until the swap, the old generation serves, and
//! an error leaves its instance, its state and its handles unchanged. The exception is `order = "stop-first"`:
//! `stop_first.rs` ends the old generation before the load.

use crate::{
    artifact::{Artifact, Facts, Held, Store},
    bring_up::{Candidate, Moved, Place},
    build::{Builder, Built},
    checkpoint::Checkpoints,
    config::{Settings, StateDir},
    demotion::Demotions,
    error::{ReloadCause, ReloadError},
    event::{EventKind, RetireOutcome, Stage, Stages, millis},
    id::{Digest, Generation, PluginId},
    load::{
        LogBound,
        in_process::{restore_sigchld, static_tls_limit, static_tls_used, tls_keys_used},
        process::{ProcessError, SavedBy},
    },
    manifest::Manifest,
    overdue::{Overdue, Steps},
    preflight::{self, Budget, Verdicts},
    program::Program,
    record::Records,
    registry::{
        CrashRecord, Entry, Live, Paused, Retiring, Watchdog,
        body::{LifecycleError, Unmap},
        clear_away, discard, end,
    },
    spans,
    step::Step,
    stop_first::{Stopped, make_room},
};
use parking_lot::{Mutex, RwLock};
use replug_api::call::Death;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use tokio::sync::watch;
use tracing::{Instrument, Span};

/// The state that the stages of all plugins share.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) state: StateDir,
    pub(crate) builder: Builder,
    pub(crate) store: Store,
    /// The crash record of this process, if one is kept.
    pub(crate) crash_record: Option<CrashRecord>,
    /// The artifacts that have crashed a host.
    pub(crate) demotions: Demotions,
    /// The saved states on disk.
    pub(crate) checkpoints: Checkpoints,
    /// The records of plugins, which outlive the host.
    pub(crate) records: Records,
    /// The program that is executed as a shim, or why there is none.
    pub(crate) program: Result<Program, ProcessError>,
    /// The most verbose log level that the settings allow for plugins.
    pub(crate) log_bound: LogBound,
    /// Finds calls in this process that do not return.
    pub(crate) watchdog: Arc<Watchdog>,
    /// The versions that need no further trial.
    pub(crate) verdicts: Verdicts,
    /// The private memory of mapped libraries in bytes, including the libraries of retired generations.
    pub(crate) private_bytes: AtomicU64,
    /// The number of generations that are being retired.
    pub(crate) retiring: watch::Sender<usize>,
    /// The artifacts of each plugin that may still be needed.
    pub(crate) wanted: Mutex<BTreeMap<PluginId, BTreeSet<Digest>>>,
    /// Code that takes an artifact from the store holds the read lock until the artifact is in `wanted`. Code that
    /// removes artifacts holds the write lock.
    pub(crate) pruning: RwLock<()>,
}

impl Context {
    /// Records the artifacts that a plugin may still need, and removes artifacts that no plugin needs from the store.
    pub(crate) fn prune(&self, id: &PluginId, digests: BTreeSet<Digest>) {
        let _alone = self.pruning.write();
        let mut wanted = self.wanted.lock();
        // Each artifact that this process takes from the store or puts into it is added to `wanted`. If the plugin
        // still needs all of its artifacts, there is nothing to remove.
        if wanted.insert(id.clone(), digests.clone()) == Some(digests) {
            return;
        }
        // A record of another version of replug is unreadable and may name any artifact. In this case, nothing is
        // removed.
        let Some(others) = self.records.named_but(|other| wanted.contains_key(other)) else { return };
        let all = wanted.values().flatten().copied().chain(others).collect();
        if let Err(error) = self.store.prune(self.settings.now().keep_artifacts, &all) {
            tracing::warn!("{error}");
        }
    }
}

/// An attempt to install one version of a plugin.
pub(crate) struct Job {
    pub(crate) entry: Arc<Entry>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) generation: Generation,
    pub(crate) source: Source,
    /// The saved state with which the version begins, if no serving generation hands its state over.
    pub(crate) state: Option<SavedBy>,
    /// The artifacts that are not to run, each with the reason.
    pub(crate) quarantined: BTreeMap<Digest, String>,
    /// The artifact that served last, kept open because its file in the store may have been removed.
    pub(crate) held: Option<Arc<Held>>,
    /// The digest of the artifact. Set as soon as it is known.
    pub(crate) artifact: Arc<OnceLock<Digest>>,
    /// An artifact that was rolled back. If the build results in it, the serving artifact is not replaced.
    pub(crate) passed_over: Option<Digest>,
    /// The version that was stopped to make room for this version, if any.
    pub(crate) stopped: Arc<Mutex<Option<Stopped>>>,
    /// The lifecycle steps in this process that the job runs.
    pub(crate) steps: Arc<Steps>,
    /// Makes the callback for an unexpected exit of a generation's process.
    pub(crate) on_death: OnDeath,
}

/// Makes the callback for an unexpected exit of a generation's process. The callback gets the cause of the exit, and
/// the last part of the process's stderr.
pub(crate) type OnDeath =
    Arc<dyn Fn((Generation, Digest)) -> Box<dyn FnOnce(Death, String) + Send> + Send + Sync>;

/// The source of a version.
#[derive(Clone)]
pub(crate) enum Source {
    /// The file that a build has produced. If it equals the serving artifact, no new generation is made.
    Built(PathBuf),
    /// The file that a build has produced. It becomes a new generation even if it equals the serving artifact.
    Rebuilt(PathBuf),
    /// An artifact in the store.
    Stored(Digest),
}

/// The outcome of a [`Job`].
pub(crate) enum Installed {
    /// The build resulted in the serving version.
    Unchanged,
    /// The build resulted in an artifact that was rolled back.
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
    preflight::check(artifact, &facts, job.manifest.reload.unload)?;
    let place = Place::of(context, job, (artifact, &facts))?;
    let copy = context.state.new_copy(&job.entry.id);
    context.store.private_copy(artifact, &copy)?;
    if !facts.libraries.is_empty() {
        // The copy is larger than the artifact, because the names of the artifact's libraries are appended to it.
        facts.loaded_file_bytes = fs::metadata(&copy).map_or(u64::MAX, |copy| copy.len());
    }
    Ok((facts, place, copy))
}

/// The resources of this process.
pub(crate) fn budget(context: &Context) -> Budget {
    Budget {
        tls_keys_used: tls_keys_used(),
        bytes_retained: context.private_bytes.load(Ordering::Relaxed),
        bytes_limit: context.settings.now().retained_bytes_limit,
        static_tls_used: static_tls_used(),
        static_tls_limit: static_tls_limit(),
        ..Budget::default()
    }
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
            step(job, (fresh, Overdue::fresh(Stage::Migrate, Step::Restore)), || {
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
    let state = step(job, (old, SAVING), || old.save())?;
    let version = old.state_version();
    step(job, (fresh, Overdue::fresh(Stage::Migrate, Step::Restore)), || fresh.restore(version, &state))?;
    Ok(Some(paused))
}

pub(crate) const SAVING: Overdue = Overdue {
    stage: Stage::Migrate,
    step: Step::Save,
    rest: "until it returns, calls wait: the state may be partly saved, and must not change",
};

fn begin(job: &Job, fresh: &Live) -> Result<(), ReloadCause> {
    step(job, (fresh, Overdue::fresh(Stage::Load, Step::Start)), || fresh.start())?;
    let refused = match step(job, (fresh, Overdue::fresh(Stage::Load, Step::Health)), || fresh.health()) {
        Ok((true, _)) => match job.steps.check() {
            Ok(()) => return Ok(()),
            Err(given_up) => given_up,
        },
        Ok((false, message)) => ReloadCause::Unwell(message),
        Err(error) => error,
    };
    stop(fresh);
    Err(refused)
}

/// Runs one lifecycle step of the new or the old generation. The step is recorded in [`Job::steps`], which limits its
/// duration, unless the generation enforces its own deadline for steps.
pub(crate) fn step<T>(
    job: &Job,
    of: (&Live, Overdue),
    run: impl FnOnce() -> Result<T, LifecycleError>,
) -> Result<T, ReloadCause> {
    let (live, overdue) = of;
    if live.traits().steps_have_a_deadline { Ok(run()?) } else { job.steps.take(overdue, run) }
}

/// Stops a started generation that will not serve.
fn stop(fresh: &Live) {
    if let Err(error) = fresh.stop() {
        tracing::warn!("{error}");
    }
}

/// Drops the instance of a generation that was never published.
fn give_up(fresh: Arc<Live>) {
    // The generation was never published, so no other reference to it exists.
    if let Some(live) = Arc::into_inner(fresh) {
        discard(live);
    }
}

/// Waits without a time limit until the generation's last call has ended, and then ends the generation. Blocks.
pub(crate) fn retire(context: &Context, retiring: Retiring, unmap: Unmap) {
    // Without a deadline, `drain` returns only when the last call has ended.
    if let Ok(live) = retiring.drain(None) {
        finish(context, live, unmap);
    }
}

/// Ends a generation that runs no more calls.
pub(crate) fn finish(context: &Context, live: Live, unmap: Unmap) {
    let (plugin, generation, digest) = (live.plugin.clone(), live.generation, live.digest);
    let private_bytes = live.private_bytes;
    let outcome = end(live, unmap);
    if outcome == RetireOutcome::Unloaded {
        context.private_bytes.fetch_sub(private_bytes, Ordering::Relaxed);
    }
    let events = &context.settings.events;
    events.generation((&plugin, generation, digest), EventKind::GenerationRetired { outcome });
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
