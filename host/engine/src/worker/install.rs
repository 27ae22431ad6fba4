//! Installs versions. The lifecycle requests each attempt.

use super::{Worker, bounded::blocking, cause::Cause, crash_recovery::refuses_state};
use crate::{
    error::{HostError, ReloadCause, ReloadError},
    event::{EventKind, Stage, Stages},
    id::{Digest, Generation},
    job::{Job, Source, Stopped},
    lifecycle::{AfterCrash, Because, Input, Installation, NotInstalled, ReportTime, VersionId, Work},
    load::process::SavedBy,
    manifest::{LimitsSpec, Manifest},
    record::{How, Record},
    reload::{self, Installed},
    spans,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tracing::Span;

/// A version to install, and its manifest.
type Offer = (Source, Arc<Manifest>);

/// A finished attempt to install a version.
struct Attempt {
    how: How,
    /// The generation that served when the attempt began.
    before: Option<Generation>,
    /// The artifact. `None` if the attempt failed before the artifact was known.
    artifact: Option<Digest>,
    /// The old version, if it was stopped to make room for the new version.
    stopped: Option<Stopped>,
    /// Whether the new generation has served. The handler of the generation's death reads this flag.
    served: Arc<AtomicBool>,
    stages: Stages,
    span: Span,
}

/// A failed installation.
struct Failed {
    error: ReloadError,
    stopped: Option<Stopped>,
    /// The next work of the lifecycle.
    next: Option<Work>,
}

impl Worker {
    /// Installs an artifact with this manifest, and reports the result.
    pub(super) async fn install(
        &mut self,
        offer: Offer,
        cause: Cause,
        stages: Stages,
    ) -> Result<Generation, HostError> {
        let (how, manifest) = (cause.how(&offer.0), offer.1.clone());
        let installation = Installation { how, manifest, replaces: self.shared.entry.live().is_some() };
        let work = self.step(Input::Install(installation));
        let failed = match self.attempts((offer, None), (cause, stages), work).await {
            Ok(generation) => return generation.ok_or_else(|| self.not_running()),
            Err(failed) => failed,
        };
        let back = match (failed.next, failed.stopped) {
            (Some(Work::EndInstall(time)), _) if time != ReportTime::Now => {
                match (time, &*failed.error.cause) {
                    (ReportTime::Later, _) => self.postponed.push(Postponed::Install(failed.error.clone())),
                    (_, ReloadCause::Quarantined(demotion)) => self.note_kept_out(demotion),
                    _ => {}
                }
                return Err(failed.error.into());
            }
            (Some(next @ Work::BringBack(_)), Some(stopped)) => Some(self.bring_back(stopped, next).await),
            _ => None,
        };
        let gap_ms = back.as_ref().and_then(|back| back.as_ref().ok().copied());
        self.report_not_installed(&failed.error, gap_ms);
        if let Some(Err(reason)) = back {
            self.shared.entry.set_reason(&reason);
        }
        Err(failed.error.into())
    }

    /// Restarts the version that was stopped to make room for a version that has failed. Returns how long calls have
    /// waited, in milliseconds.
    ///
    /// # Errors
    ///
    /// The reason why the version has failed to start again. In this case, the plugin does not run, and calls get this
    /// reason.
    async fn bring_back(&mut self, stopped: Stopped, work: Work) -> Result<f64, String> {
        let earlier = (Source::Stored(stopped.digest), self.manifest());
        let began = (Cause::resume(), Stages::default());
        let Err(Failed { error, .. }) = self.attempts((earlier, Some(&stopped)), began, Some(work)).await
        else {
            return Ok(stopped.gap_ms());
        };
        self.report_not_installed(&error, None);
        let (generation, error) = (stopped.generation, HostError::from(error));
        let reason = format!(
            "{generation} was stopped to make room for a new version that failed to start, and {generation} failed to \
             start again: {error}; repair the plugin, or `start` it"
        );
        drop(self.shared.entry.close(&reason));
        Err(reason)
    }

    /// Makes the attempts that the lifecycle requests, until one succeeds. Returns the generation that serves then, if
    /// any.
    async fn attempts(
        &mut self,
        (offer, stopped): (Offer, Option<&Stopped>),
        (mut cause, mut stages): (Cause, Stages),
        mut work: Option<Work>,
    ) -> Result<Option<Generation>, Failed> {
        loop {
            let (state, after_crash) = match work {
                Some(Work::Install(with, after_crash)) => (self.state_for(with), after_crash),
                Some(Work::BringBack(after_crash)) => {
                    (stopped.and_then(|stopped| stopped.state.clone()), after_crash)
                }
                _ => return Ok(None),
            };
            let (attempt, done) = self.attempt(&offer, (state, after_crash), (&mut cause, stages)).await;
            let error = match done {
                Ok(installed) => return Ok(self.installed(installed, (attempt, cause), offer.1)),
                Err(error) => error,
            };
            let error = self.with_way_out(error);
            work = self.step(Input::NotInstalled(NotInstalled {
                text: match &*error.cause {
                    ReloadCause::Quarantined(demotion) => demotion.to_string(),
                    _ => error.to_string(),
                },
                artifact: attempt.artifact,
                because: because(&error.cause),
                made_room: attempt.stopped.is_some(),
                is_announced: match &*error.cause {
                    ReloadCause::Quarantined(demotion) => {
                        self.context.demotions.is_news(self.id(), demotion.digest)
                    }
                    _ => false,
                },
            }));
            if !matches!(work, Some(Work::Install(..))) {
                self.doing(None);
                spans::ends(&attempt.span, "failed");
                return Err(Failed { error, stopped: attempt.stopped, next: work });
            }
            stages = attempt.stages;
        }
    }

    /// Makes one attempt on its own thread. Meanwhile, handles the deaths of other generations.
    async fn attempt(
        &mut self,
        (source, manifest): &Offer,
        (state, after_crash): (Option<SavedBy>, AfterCrash),
        (cause, mut stages): (&mut Cause, Stages),
    ) -> (Attempt, Result<Installed, ReloadError>) {
        self.doing(Some(Stage::Load));
        self.last_generation += 1;
        let generation = Generation(self.last_generation);
        let served = Arc::default();
        let job = Job {
            entry: self.shared.entry.clone(),
            manifest: manifest.clone(),
            generation,
            source: source.clone(),
            state,
            quarantined: self.record.quarantined().clone(),
            held: self.held.clone(),
            artifact: Arc::default(),
            after_crash,
            passed_over: cause.passes_over,
            stopped: Arc::default(),
            spares: self.spares.pool(),
            steps: Arc::default(),
            on_death: self.on_death(&served),
        };
        let span = cause.span(self);
        spans::is_to_be(&span, generation);
        // Only the number is kept, because a reference would keep the generation alive if its process exited meanwhile.
        let before = self.shared.entry.live().map(|live| live.generation);
        let (steps, patience) = (job.steps.clone(), manifest.process.step_timeout);
        let (artifact, stopped) = (job.artifact.clone(), job.stopped.clone());
        let (context, inside) = (self.context.clone(), span.clone());
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
                    if died.is_of(generation) {
                        // This death is handled when the attempt has ended. Only then is it known whether the
                        // generation has served.
                        own_death = Some(died);
                    } else {
                        self.died(died);
                    }
                }
            }
        };
        self.deaths.put_back(own_death);
        let (done, stages) = match done {
            Ok(done) => done,
            Err((stage, cause)) => (Err(self.error(stage, cause)), Stages::default()),
        };
        let (artifact, stopped) = (artifact.get().copied(), stopped.lock().take());
        (Attempt { how: cause.how(source), before, artifact, stopped, served, stages, span }, done)
    }

    /// Records and reports an attempt that has succeeded. Returns the generation that serves, if any.
    fn installed(
        &mut self,
        installed: Installed,
        (attempt, cause): (Attempt, Cause),
        manifest: Arc<Manifest>,
    ) -> Option<Generation> {
        self.doing(None);
        let (live, old, moved) = match installed {
            Installed::Serving { live, old, moved } => (live, old, moved),
            Installed::PassedOver | Installed::Unchanged => {
                spans::ends(&attempt.span, "unchanged");
                self.last_generation -= 1;
                let rolled_back = matches!(installed, Installed::PassedOver);
                self.do_now(if rolled_back { Input::PassedOver } else { Input::Unchanged });
                // After a start with an older version, the stored newest version may be another one than the serving one.
                if !rolled_back && !self.record.serves_newest() {
                    self.record.note(Record::is_unchanged);
                    self.record.save();
                    self.shared.progress.lock().rolled_back_from = None;
                }
                self.emit(EventKind::BuildUnchanged {
                    rolled_back,
                    warnings: cause.warnings,
                    way: cause.way,
                });
                return attempt.before;
            }
        };
        spans::ends(&attempt.span, "serving");
        attempt.served.store(true, Ordering::Relaxed);
        let total_ms = cause.age_ms();
        let gap_ms = attempt.stopped.map(|stopped| stopped.gap_ms());
        self.note_serving(&live, attempt.how, &manifest);
        self.do_now(Input::Served {
            version: VersionId { generation: live.generation, digest: live.digest },
            stateful: live.stateful(),
            history: self.record.versions().iter().map(|version| version.digest).collect(),
        });
        // The record is saved before the event, so that the next host finds the reported generation. Calls have
        // continued since the swap, so the write delays no call.
        self.record.save();
        let events = &self.context.settings.events;
        events.generation(
            (&live.plugin, live.generation, live.digest),
            EventKind::Reloaded {
                stages: attempt.stages,
                total_ms,
                gap_ms,
                warnings: cause.warnings,
                way: cause.way,
            },
        );
        let asked = self.manifest().limits;
        if let Some(limits) = live.limits(asked).filter(|_| asked != LimitsSpec::default()) {
            let of = (&live.plugin, live.generation, live.digest);
            events.generation(of, EventKind::LimitsApplied(limits));
        }
        if let Some(old) = old {
            self.retire(old);
        }
        self.note_place(moved.as_ref());
        let call_timeout = self.manifest().process.call_timeout;
        if let Some(limit) = call_timeout.filter(|_| !live.traits().interruptible) {
            self.context.watchdog.watch(&live, limit);
        }
        self.prune();
        Some(live.generation)
    }

    /// Makes the postponed reports.
    pub(super) fn report_postponed(&mut self) {
        for postponed in std::mem::take(&mut self.postponed) {
            match postponed {
                Postponed::Build(error) => self.report_failed_build(&error),
                Postponed::Install(error) => self.report_not_installed(&error, None),
            }
        }
    }

    /// Reports that a version failed to start. `gap_ms` is the time for which calls have waited, in milliseconds.
    fn report_not_installed(&self, error: &ReloadError, gap_ms: Option<f64>) {
        match &*error.cause {
            ReloadCause::Quarantined(demotion) => {
                self.note_kept_out(demotion);
                self.emit(demotion.event());
            }
            _ => self.report_failed(error, gap_ms),
        }
    }
}

/// A failure whose report was postponed.
pub(super) enum Postponed {
    /// A build has produced no library.
    Build(ReloadError),
    /// A version failed to start.
    Install(ReloadError),
}

/// Classifies the cause of a failure for the lifecycle.
fn because(cause: &ReloadCause) -> Because {
    match cause {
        cause if refuses_state(cause) => Because::StateRefused,
        ReloadCause::StateRefused { .. } => Because::StateRefused,
        ReloadCause::Quarantined(_) => Because::KeptOut,
        cause if cause.unfit_config_key().is_some() => Because::ConfigRefused,
        _ => Because::Other,
    }
}
