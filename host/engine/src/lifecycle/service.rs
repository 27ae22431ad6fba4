//! The serving generation. A new version is watched until it is confirmed. If a process exits unexpectedly, it is
//! restarted with exponential backoff. After too many failures, its artifact is quarantined.

use super::{
    Confirm, Effect, Effects, Intent, Lifecycle, Policy, Restart, Task, VersionId, Work,
    backoff::{Failure, pause},
    saved::Saved,
};
use crate::record::How;
use std::time::{Duration, Instant};

/// The interval at which the calls of a watched version are counted.
const LOOK: Duration = Duration::from_millis(20);

/// The serving generation, or the reason why no generation serves.
#[derive(Debug)]
pub(super) enum Service {
    /// No generation has served since the plugin was stopped or the host started.
    Stopped,
    /// The process of the last generation has ended. A restart is in progress, or the plugin should not run.
    Down {
        last: VersionId,
    },
    /// The plugin is not restarted: the last generation was quarantined, or did not start again after it was stopped
    /// to make room for another version.
    GivenUp {
        last: VersionId,
    },
    Serving(Serving),
    /// The plugin is restarted at the time `due`.
    Backoff {
        last: VersionId,
        due: Instant,
        restart: Restart,
    },
}

/// A generation while it serves.
#[derive(Debug)]
pub(super) struct Serving {
    version: VersionId,
    stateful: bool,
    trust: Trust,
    /// The time of the next checkpoint. `None` if the generation's state is not saved.
    checkpoint: Option<Instant>,
}

/// Whether a version is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trust {
    /// The version is confirmed, or is no longer watched.
    Trusted,
    /// The version is watched until `until`. Its calls are counted next at `look`.
    Watched { until: Instant, look: Instant },
    /// Like `Watched`, but the version is not judged, because a running build may replace it.
    Unjudged { until: Instant, look: Instant },
}

/// An unexpected exit of a generation's process.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) version: VersionId,
    pub(crate) exit: Exit,
    /// Whether the generation served until its process ended.
    pub(crate) was_serving: bool,
    /// Whether the generation has ever served.
    pub(crate) has_served: bool,
    /// Whether another generation serves now.
    pub(crate) is_replaced: bool,
    /// Whether a crash of the artifact is recorded already.
    pub(crate) has_crashed: bool,
}

/// How a process has ended, and the last part of its stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) signal: Option<String>,
    pub(crate) status: Option<i32>,
    pub(crate) stderr_tail: String,
}

impl Service {
    /// The version that serves, or served last since the last stop.
    pub(super) fn last(&self) -> Option<VersionId> {
        match self {
            Self::Stopped => None,
            Self::Down { last } | Self::GivenUp { last } | Self::Backoff { last, .. } => Some(*last),
            Self::Serving(serving) => Some(serving.version),
        }
    }

    /// The time of the next restart, checkpoint or count of calls.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Self::Stopped | Self::Down { .. } | Self::GivenUp { .. } => None,
            Self::Backoff { due, .. } => Some(*due),
            Self::Serving(serving) => {
                let watch = match serving.trust {
                    Trust::Watched { look, .. } => Some(look),
                    Trust::Trusted | Trust::Unjudged { .. } => None,
                };
                watch.into_iter().chain(serving.checkpoint).min()
            }
        }
    }

    /// Cancels a pending restart.
    pub(super) fn without_restart(&mut self) {
        if let Self::Backoff { last, .. } = *self {
            *self = Self::Down { last };
        }
    }

    /// A build that may replace the serving version has begun. Until the build ends, the version is not judged.
    pub(super) fn is_being_replaced(&mut self) {
        if let Self::Serving(Serving { trust, .. }) = self
            && let Trust::Watched { until, look } = *trust
        {
            *trust = Trust::Unjudged { until, look };
        }
    }

    /// The build has ended. `confirm` watches the calls of the serving version again.
    pub(super) fn goes_on(&mut self) {
        if let Self::Serving(Serving { trust, .. }) = self
            && let Trust::Unjudged { until, look } = *trust
        {
            *trust = Trust::Watched { until, look };
        }
    }

    /// Stops watching the serving version.
    pub(super) fn is_unwatched(&mut self) {
        if let Self::Serving(Serving { trust, .. }) = self {
            *trust = Trust::Trusted;
        }
    }

    /// Stops saving checkpoints of the serving generation.
    pub(super) fn saves_no_more(&mut self) {
        if let Self::Serving(Serving { checkpoint, .. }) = self {
            *checkpoint = None;
        }
    }
}

impl Lifecycle {
    /// Applies the policy of a manifest that has come into force.
    pub(super) fn follow(&mut self, now: Instant, policy: Policy) -> Effects {
        let before = std::mem::replace(&mut self.policy, policy);
        if policy.confirm.is_none() {
            self.service.is_unwatched();
        }
        match &mut self.service {
            Service::Serving(serving) if before.checkpoint != policy.checkpoint => {
                Effects::of(serving.saves(now, policy.checkpoint))
            }
            _ => Effects::default(),
        }
    }

    /// Records that a version serves, and decides whether it is watched.
    pub(super) fn served(&mut self, now: Instant, (version, stateful): (VersionId, bool)) -> Effects {
        let (how, replaces, accepted) = self.installed(now);
        self.history.serves(version.digest, how);
        let is_unconfirmed = self.history.is_unconfirmed(version.digest);
        let unproven = match how {
            How::Built => replaces || is_unconfirmed,
            // The host or the process ended before the version was confirmed.
            How::Again => is_unconfirmed,
            // If the version were watched, two bad versions could replace each other endlessly.
            How::WentBack => false,
        };
        self.saved = Saved::Checkpoint;
        self.failures.keep_those_of(version.digest);
        let (trust, good) = match self.policy.confirm {
            Some(Confirm { window, .. }) if unproven => {
                (Trust::Watched { until: now + window, look: now + LOOK.min(window) }, None)
            }
            _ => (Trust::Trusted, Some(self.is_good(version))),
        };
        let mut serving = Serving { version, stateful, trust, checkpoint: None };
        let forgets = serving.saves(now, self.policy.checkpoint);
        self.service = Service::Serving(serving);
        if self.activity.builds() {
            self.service.is_being_replaced();
        }
        Effects::of(accepted.now.into_iter().chain(good).chain(forgets))
    }

    /// Records that a version is confirmed.
    fn is_good(&mut self, version: VersionId) -> Effect {
        self.history.good = Some(version.digest);
        self.history.taken_back.remove(&version.digest);
        Effect::RememberGood
    }

    /// Decides what follows from the death of a generation: a rollback, a restart, a quarantine, or only a report.
    pub(super) fn died(&mut self, now: Instant, death: Death) -> Effects {
        // A generation that has never served has failed to start. The attempt to start it reports that.
        if !death.was_serving && !death.has_served {
            return Effects::default();
        }
        let demotion = self.demotion(&death);
        let Effects { now, then } = self.consequences(now, death);
        Effects { now: demotion.into_iter().chain(now).collect(), then }
    }

    fn consequences(&mut self, now: Instant, death: Death) -> Effects {
        let Death { version, exit, was_serving, is_replaced, .. } = death;
        let leaves_gap = was_serving && !is_replaced;
        let was_watched = match &mut self.service {
            Service::Serving(serving) if serving.version == version => {
                let trust = std::mem::replace(&mut serving.trust, Trust::Trusted);
                Some(matches!(trust, Trust::Watched { .. }))
            }
            _ => None,
        };
        let Some(was_watched) = was_watched.filter(|_| leaves_gap) else {
            return Effects::of([Effect::ReportCrash { version, exit, restart_in: None }]);
        };
        self.service = Service::Down { last: version };
        if self.intent == Intent::Rest {
            return Effects::of([Effect::ReportCrash { version, exit, restart_in: None }]);
        }
        let earlier = self.history.earlier_than(version.digest).filter(|_| was_watched);
        if let Some(earlier) = earlier {
            let restart = Restart { digest: earlier, instead_of: Some(version) };
            self.service = Service::Backoff { last: version, due: now, restart };
            return Effects::of([Effect::ReportCrash { version, exit, restart_in: Some(Duration::ZERO) }]);
        }
        let again = self.again_after(now, (version, Failure::Ended));
        let report = |restart_in| Effect::ReportCrash { version, exit, restart_in };
        Effects::of(match again {
            Ok(pause) => [Effect::ExpectRestart(now + pause), report(Some(pause))],
            Err(quarantine) => [report(None), quarantine],
        })
    }

    /// Counts a failure of the version that served last. Returns the pause before the restart, or, after too many
    /// failures, the effect that quarantines the version's artifact.
    fn again_after(&mut self, now: Instant, of: (VersionId, Failure)) -> Result<Duration, Effect> {
        let (last, failure) = of;
        let Policy { restart_pause, max_deaths, death_window, .. } = self.policy;
        let count = self.failures.add((last.digest, failure), now, death_window);
        if (count as u64) < max_deaths {
            let pause = pause(restart_pause, count, &mut self.jitter);
            let restart = Restart { digest: last.digest, instead_of: None };
            self.service = Service::Backoff { last, due: now + pause, restart };
            return Ok(pause);
        }
        let (failures, window) = (&self.failures, humantime::format_duration(death_window));
        let reason = format!(
            "its process {failures} within {window}: it is quarantined; rebuild it, or `start` it to try \
             again"
        );
        self.service = Service::GivenUp { last };
        self.faults.is_quarantined(reason.clone());
        Err(Effect::Quarantine { digest: last.digest, reason })
    }

    /// Begins the work that is due, if no command or other work prevents it.
    pub(super) fn due_now(&mut self, now: Instant) -> Effects {
        if !self.activity.is_open() || self.task.is_some() {
            return Effects::default();
        }
        if self.faults.due().is_some_and(|due| due <= now) {
            return Effects::work(Work::LookForManifest);
        }
        if let Some(change) = self.check(now) {
            return Effects::work(Work::ReportAgain(change));
        }
        let (task, work) = match &mut self.service {
            Service::Backoff { last, due, restart } if *due <= now => {
                let (last, restart) = (*last, *restart);
                self.service = Service::Down { last };
                // The death that led to this restart may already be outside the window, so count at least this one.
                let deaths = self.failures.count(Failure::Ended).max(1);
                let goes_back = restart.instead_of.is_some();
                (Task::Restart { restart, deaths }, Work::Restart { digest: restart.digest, goes_back })
            }
            Service::Serving(serving) => match serving.due_now(now, &self.policy) {
                Some(due) => due,
                None => return Effects::default(),
            },
            _ => return Effects::default(),
        };
        self.task = Some(task);
        Effects::work(work)
    }

    /// Judges the watched version by its calls: rolls it back if too many have failed, and confirms it if the window
    /// is over.
    pub(super) fn judge(&mut self, now: Instant, calls: (u64, u64)) -> Effects {
        self.task = None;
        let (total, failed) = calls;
        let (Some(confirm), Service::Serving(serving)) = (self.policy.confirm, &mut self.service) else {
            return Effects::default();
        };
        let Trust::Watched { until, .. } = serving.trust else { return Effects::default() };
        let rate = failed as f64 / total.max(1) as f64;
        if total >= confirm.min_calls && rate > confirm.max_error_rate {
            serving.trust = Trust::Trusted;
            let Some(to) = self.history.earlier_than(serving.version.digest) else {
                return Effects::of([Effect::ReportNothingEarlier]);
            };
            let allowed = confirm.max_error_rate;
            let reason = format!(
                "{failed} of its {total} calls failed, more than the {allowed} that `confirm` allows"
            );
            self.task = Some(Task::GoBack { from: serving.version, reason });
            return Effects::work(Work::GoBack { to });
        }
        if now >= until {
            serving.trust = Trust::Trusted;
            let version = serving.version;
            return Effects::of([self.is_good(version)]);
        }
        Effects::default()
    }

    /// Records that a version was rolled back.
    fn taken_back(&mut self, from: VersionId, reason: String) -> Effect {
        self.history.taken_back.insert(from.digest);
        let fault = format!("{}: {} was rolled back: {reason}", self.plugin, from.generation);
        self.faults.is_taken_back(fault.clone());
        Effect::ReportTakenBack { from, reason, fault }
    }

    /// Decides what follows from the end of a restart or a rollback.
    pub(super) fn task_ended(&mut self, now: Instant, serves: bool) -> Effects {
        match (self.task.take(), serves) {
            (Some(Task::Restart { restart: Restart { instead_of: None, .. }, deaths }), true) => {
                Effects::of([Effect::CountRestart, Effect::ReportRestart { deaths }])
            }
            (Some(Task::Restart { restart: Restart { instead_of: Some(from), .. }, .. }), true) => {
                let reason = "its process ended in the `confirm` window".into();
                Effects::of([Effect::CountRestart, self.taken_back(from, reason)])
            }
            (Some(Task::GoBack { from, reason }), true) => Effects::of([self.taken_back(from, reason)]),
            // This restart may have been a rollback to an earlier version. `last` is the version whose process has exited.
            (Some(Task::Restart { .. }), false) => match (&self.service, self.intent) {
                (Service::Down { last }, Intent::Run) => {
                    let again = self.again_after(now, (*last, Failure::FailedToStart));
                    Effects::of([match again {
                        Ok(pause) => Effect::ExpectRestart(now + pause),
                        Err(quarantine) => quarantine,
                    }])
                }
                _ => Effects::default(),
            },
            // The failure was reported when it occurred.
            (_, _) => Effects::default(),
        }
    }
}

impl Serving {
    /// Schedules the checkpoints at this interval. Without an interval or without a state, returns the effect that
    /// removes the saved state, which is outdated.
    fn saves(&mut self, now: Instant, every: Option<Duration>) -> Option<Effect> {
        self.checkpoint = every.filter(|_| self.stateful).map(|every| now + every);
        (every.is_none() || !self.stateful).then_some(Effect::ForgetState)
    }

    /// The work that is due, if any, and the task that represents it.
    fn due_now(&mut self, now: Instant, policy: &Policy) -> Option<(Task, Work)> {
        match &mut self.trust {
            Trust::Watched { until, look } if *look <= now => {
                *look = if *until > now { (now + LOOK).min(*until) } else { now + LOOK };
                return Some((Task::Judge, Work::CountCalls));
            }
            _ => {}
        }
        self.checkpoint.filter(|due| *due <= now)?;
        self.checkpoint = policy.checkpoint.map(|every| now + every);
        Some((Task::Checkpoint, Work::Checkpoint))
    }
}
