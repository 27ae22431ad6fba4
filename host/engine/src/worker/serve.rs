//! From a cause to a generation that serves, as the worker sees it: build, install, tell.

use super::{GRACE, Worker, bounded::blocking, crash_recovery::refuses_state};
use crate::{
    error::{HostError, ReloadCause, ReloadError},
    event::{Diagnostic, EventKind, Stage, Stages, millis},
    id::Generation,
    lifecycle::{Aim, Input, Refused, Version},
    load::process::SavedBy,
    manifest::{LimitsSpec, Manifest},
    record::How,
    reload::{self, Installed, Job, Source},
    spans,
    watch::{Change, What},
};
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Instant, SystemTime},
};
use tracing::Span;

/// How many builds that failed in a row ask whether something was saved while they ran.
const EARLY_FAILURES: u32 = 3;

/// Why a build or what follows it is done.
pub(super) struct Cause {
    pub(super) change: Option<Change>,
    began: Instant,
    why: Why,
    /// The state to begin with, if that is no other.
    state: Option<SavedBy>,
    /// What the compiler said of it.
    warnings: Vec<Diagnostic>,
    /// What `tracing` shows of it; none until it begins.
    span: Span,
}

/// Where what is to serve comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// It is built, with this aim.
    Build(Aim),
    /// It is the artifact from which the plugin starts, or was started again.
    Resume,
    /// The plugin goes back to it.
    GoBack,
}

impl Cause {
    pub(super) fn of(change: Change) -> Self {
        Self { change: Some(change), ..Self::to(Why::Build(Aim::Update)) }
    }

    pub(super) fn order() -> Self {
        Self::to(Why::Build(Aim::Renew))
    }

    /// The host or the plugin starts, and its source may be newer than what serves.
    pub(super) fn check() -> Self {
        Self::to(Why::Build(Aim::Check))
    }

    /// What serves, or served last, is to serve again.
    pub(super) fn resume() -> Self {
        Self::to(Why::Resume)
    }

    /// An earlier artifact is to serve.
    pub(super) fn go_back() -> Self {
        Self::to(Why::GoBack)
    }

    /// The same, with what was handed over by a version that had to be stopped.
    pub(super) fn with_state(self, state: Option<SavedBy>) -> Self {
        Self { state, ..self }
    }

    /// What is to come of a build for it.
    pub(super) fn aim(&self) -> Aim {
        match self.why {
            Why::Build(aim) => aim,
            Why::Resume | Why::GoBack => Aim::Update,
        }
    }

    fn to(why: Why) -> Self {
        let (began, span) = (Instant::now(), Span::none());
        Self { change: None, began, why, state: None, warnings: Vec::new(), span }
    }

    pub(super) fn is_manifest(&self) -> bool {
        self.change.as_ref().is_some_and(|change| change.what == What::Manifest)
    }

    /// The span of the reload, which begins if it has not yet.
    pub(super) fn span(&mut self, worker: &Worker) -> Span {
        if self.span.is_none() {
            self.span = spans::reload(worker.id());
        }
        self.span.clone()
    }

    /// What `tracing` has shown of it is at an end.
    pub(super) fn begins_again(&mut self) {
        self.span = Span::none();
    }

    /// Milliseconds since the save, or since the order.
    pub(super) fn age_ms(&self) -> f64 {
        let saved_at = self.change.as_ref().map(|change| change.saved_at);
        let age = saved_at.and_then(|at| SystemTime::now().duration_since(at).ok());
        millis(age.unwrap_or_else(|| self.began.elapsed()))
    }
}

impl Worker {
    /// Builds until a build is not overtaken by a newer save, and lets the result serve.
    pub(super) async fn rebuild(&mut self, mut cause: Cause) -> Result<Generation, HostError> {
        if self.context.builder.takes_time(&self.manifest()) {
            // That someone wants the plugin is known to the next host, should this one end before the build does.
            self.record.save();
        }
        let mut stages = Stages::default();
        let (aim, built) = self.build(&mut cause, &mut stages).await?;
        cause.why = Why::Build(aim);
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                spans::ends(&cause.span(self), "failed");
                return Err(self.failed_build(error).await);
            }
        };
        self.failures = 0;
        let inputs = built.inputs;
        cause.warnings = built.warnings;
        let source = if aim == Aim::Renew || self.pending.is_some() {
            Source::Rebuilt(built.artifact)
        } else {
            Source::Built(built.artifact)
        };
        let installed = self.install((source, self.said()), cause, stages).await;
        // Not before: it takes a few milliseconds, and misses nothing that was saved meanwhile.
        self.watch(inputs);
        installed
    }

    /// Lets an artifact serve and follow this manifest, and tells how that went.
    pub(super) async fn install(
        &mut self,
        (source, manifest): (Source, Arc<Manifest>),
        mut cause: Cause,
        mut stages: Stages,
    ) -> Result<Generation, HostError> {
        self.doing(Some(Stage::Load));
        self.last_generation += 1;
        let state = cause.state.take().or_else(|| self.state_to_begin_with());
        let served = Arc::default();
        let job = Job {
            entry: self.shared.entry.clone(),
            manifest: manifest.clone(),
            generation: Generation(self.last_generation),
            source: source.clone(),
            state,
            quarantined: self.record.quarantined().clone(),
            held: self.held.clone(),
            artifact: Arc::default(),
            passed_over: self.record.gone_back_from().filter(|_| cause.why == Why::Build(Aim::Check)),
            stopped: Arc::default(),
            steps: Arc::default(),
            on_death: self.on_death(&served),
        };
        let span = cause.span(self);
        spans::is_to_be(&span, job.generation);
        let inside = span.clone();
        // Not the generation itself: if it dies meanwhile, it is not kept from its end.
        let before = self.shared.entry.live().map(|live| live.generation);
        // Where something serves, what a version refuses is that one's state, and the checkpoint is as good as before.
        let begins_with_a_state = before.is_none() && job.state.is_some();
        let is_new = !matches!(job.source, Source::Stored(_));
        let how = match cause.why {
            _ if is_new => How::Built,
            Why::Resume => How::Again,
            Why::GoBack | Why::Build(_) => How::WentBack,
        };
        let context = self.context.clone();
        let (steps, patience) = (job.steps.clone(), job.manifest.process.step_timeout);
        let artifact = job.artifact.clone();
        let stopped = job.stopped.clone();
        let candidate = job.generation;
        let done = blocking(move || {
            let installed = inside.in_scope(|| reload::install(&context, job, &mut stages));
            (installed, stages)
        });
        tokio::pin!(done);
        let mut own_death = None;
        let done = loop {
            tokio::select! {
                done = &mut done => break done.map_err(|bug| (Stage::Load, bug)),
                overdue = steps.overdue(patience) => {
                    if !overdue.holds_the_state() {
                        self.shared.entry.resume();
                    }
                    break Err((overdue.stage, overdue.after(patience)));
                }
                died = self.deaths.next() => {
                    if died.is_of(candidate) {
                        // Whether it matters is known when it serves, or does not.
                        own_death = Some(died);
                    } else {
                        self.died(died);
                    }
                }
            }
        };
        self.deaths.put_back(own_death);
        let stopped = stopped.lock().take();
        let (installed, stages) = match done {
            Ok(done) => done,
            Err((stage, cause)) => (Err(self.error(stage, cause)), Stages::default()),
        };
        if let (Err(error), true) = (&installed, begins_with_a_state)
            && refuses_state(&error.cause)
            && self.record.state().is_none()
        {
            self.lose_checkpoint(&error.cause.to_string());
            return Box::pin(self.install((source, manifest), cause, stages)).await;
        }
        let installed = installed.map_err(|error| self.with_way_out(error));
        self.doing(None);
        spans::ends(
            &span,
            match installed {
                Err(_) => "failed",
                Ok(Installed::Unchanged | Installed::PassedOver) => "unchanged",
                Ok(Installed::Serving { .. }) => "serving",
            },
        );
        match installed {
            Err(error) => {
                let back = match stopped {
                    Some(stopped) => Some(self.bring_back(stopped).await),
                    None => None,
                };
                let gap_ms = back.as_ref().and_then(|back| back.as_ref().ok().copied());
                let built = artifact.get().copied().filter(|_| is_new);
                let is_unfit = error.cause.unfit_config_key().is_some();
                match &*error.cause {
                    ReloadCause::Quarantined(demotion) => self.stay_out(demotion, built),
                    _ if is_new => {
                        self.failed_after(&error, Refused::Newest { artifact: built, is_unfit }, gap_ms);
                    }
                    _ => self.failed_after(&error, Refused::Other, gap_ms),
                }
                if let Some(Err(reason)) = back {
                    self.shared.entry.set_reason(&reason);
                }
                Err(error.into())
            }
            Ok(Installed::PassedOver) => {
                self.last_generation -= 1;
                self.tell(EventKind::BuildUnchanged { warnings: cause.warnings });
                before.ok_or_else(|| self.stopping())
            }
            Ok(Installed::Unchanged) => {
                self.last_generation -= 1;
                self.do_now(Input::Unchanged);
                self.tell(EventKind::BuildUnchanged { warnings: cause.warnings });
                before.ok_or_else(|| self.stopping())
            }
            Ok(Installed::Serving { live, old, moved }) => {
                served.store(true, Ordering::Relaxed);
                let total_ms = cause.age_ms();
                let gap_ms = stopped.map(|stopped| stopped.gap_ms());
                if !Arc::ptr_eq(&manifest, &self.manifest()) {
                    self.accept(manifest);
                    // This version takes what the one before has refused.
                    self.do_now(Input::WordsApply);
                }
                let is_unconfirmed = self.record.is_unconfirmed(live.digest);
                self.note_serving(&live, how);
                let version = Version { generation: live.generation, digest: live.digest };
                let stateful = live.instance.stateful();
                let replaces = before.is_some();
                self.do_now(Input::Served { version, stateful, how, replaces, is_unconfirmed });
                // What is reported is so for the next host, too, and the state that was handed over is forgotten only when
                // no host looks for it any more. Calls have gone on since the swap.
                self.record.save();
                let events = &self.context.settings.events;
                events.generation(
                    (&live.plugin, live.generation, live.digest),
                    EventKind::Reloaded { stages, total_ms, gap_ms, warnings: cause.warnings },
                );
                let asked = self.manifest().limits;
                if let Some(limits) = live.instance.limits(asked).filter(|_| asked != LimitsSpec::default()) {
                    let of = (&live.plugin, live.generation, live.digest);
                    events.generation(of, EventKind::LimitsApplied(limits));
                }
                if let Some(old) = old {
                    self.retire(old);
                }
                self.note_place(moved.as_ref());
                if let (None, Some(limit)) = (live.instance.pid(), self.manifest().process.call_timeout) {
                    self.context.watchdog.watch(&live, limit);
                }
                self.prune();
                Ok(live.generation)
            }
        }
    }

    async fn failed_build(&mut self, error: ReloadError) -> HostError {
        self.doing(None);
        if self.is_missing() {
            self.do_now(Input::BuildUnclear { until: Instant::now() + GRACE });
            self.unclear = Some(error.clone());
            return error.into();
        }
        // Until it compiles again, any file that it may read counts, and so does what was saved since the build began. But
        // a build that fails with the names of new files of its own each time must not cause the next one for ever.
        self.failures += 1;
        let as_of = self.overlap.began().filter(|_| self.failures <= EARLY_FAILURES);
        self.watch_sources_as_of(as_of).await;
        self.tell_failed_build(&error);
        error.into()
    }

    fn tell_failed_build(&mut self, error: &ReloadError) {
        let diagnostics = match &*error.cause {
            ReloadCause::Build(error) => error.diagnostics().to_vec(),
            _ => Vec::new(),
        };
        self.say_why_down(error);
        self.do_now(Input::BuildFailed(error.to_string()));
        self.tell(EventKind::BuildFailed { error: error.cause.to_string(), diagnostics });
    }

    /// Reports a build that failed while the manifest was missing, if that is back.
    pub(super) fn report_unclear_build(&mut self) {
        let unclear = self.unclear.take();
        if let Some(error) = unclear.filter(|_| !self.is_missing()) {
            self.tell_failed_build(&error);
        }
    }
}
