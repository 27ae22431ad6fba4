//! The lifecycle of a plugin as a pure state machine: no I/O, no clock, no channel. The worker is the shell around it.
//!
//! [`Lifecycle::step`] takes the time and one [`Input`], changes the state, and returns [`Effects`]: what the worker does at
//! once, and at most one [`Work`], which takes time and whose end is the next input but for what happens meanwhile.
//!
//! The state has five parts, each of which holds only what exists in it:
//!
//! | part | states | left by |
//! |---|---|---|
//! | [`Intent`]: is it to run | `Rest`, `Run` | `Wanted`; an order to stop |
//! | [`Service`]: what serves | `Stopped`: nothing, and nothing served since the last stop | `Served` |
//! | | `Down`: nothing; what served last has ended, or was quarantined | `Served`, `Stopped`, a failed restart |
//! | | `Serving`: one generation, with its [`Trust`] and its checkpoints | `Served`, `Died`, `Lost`, `Stopped` |
//! | | `Backoff`: nothing until a time, at which an artifact is restarted | `Due`, `Served`, an order to stop |
//! | [`Activity`]: what is done with it | `Idle` | `Order` |
//! | | `Order`, in a [`Phase`]: a build, which can be cancelled, a new configuration, or something else | `Finished` |
//! | [`Faults`]: what is wrong with it | its manifest, what that says, its newest source, something else | what puts it right |
//! | [`Task`]: what it needs itself | `Restart`, `GoBack`, `Checkpoint`, `Judge`; or none | its end |
//!
//! What each order does is the worker's; which order is next, which waits, which one a stop refuses, what an order means for
//! the build that runs, and everything about a generation that serves is decided here.

mod budget;
mod faults;
mod queue;
mod service;
#[cfg(test)]
mod simulation;

use crate::id::{Digest, Generation, PluginId};
use budget::{Failures, Jitter};
pub(crate) use faults::{By, Faults, Refusal, Refused};
use queue::{Activity, Phase, Waiting};
pub(crate) use queue::{Request, Ticket};
use service::Service;
pub(crate) use service::{Death, Exit};
use std::time::{Duration, Instant};

/// One artifact as one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
}

/// Whether the plugin is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Rest,
    Run,
}

/// What the manifest in force says of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Policy {
    /// How long to wait before the first restart; before each further one twice as long.
    pub(crate) restart_pause: Duration,
    /// The plugin is quarantined when it has failed this often ...
    pub(crate) max_deaths: u64,
    /// ... within this time.
    pub(crate) death_window: Duration,
    /// How long a new version is watched, and when it is bad; none if it is trusted at once.
    pub(crate) confirm: Option<Confirm>,
    /// How often its state is saved.
    pub(crate) checkpoint: Option<Duration>,
}

/// See [`Policy::confirm`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Confirm {
    pub(crate) window: Duration,
    /// The share of failed calls above which a version is bad.
    pub(crate) max_error_rate: f64,
    /// With fewer calls than this it is not judged.
    pub(crate) min_calls: u64,
}

/// What the lifecycle learns.
#[derive(Debug)]
pub(crate) enum Input {
    /// Another manifest is in force.
    Policy(Policy),
    /// An order was given.
    Order(Ticket, Request),
    /// The order that was under way is carried out, or has failed.
    Finished,
    /// The order under way begins to build: from now on it can be cancelled.
    BuildBegan,
    /// It builds no longer.
    BuildEnded,
    /// The build has failed.
    BuildFailed(String),
    /// The build gave what serves.
    Unchanged,
    /// What serves is about to be configured, by the order under way.
    ConfigureBegan(By),
    /// It takes its configuration, or does not, or has come up again with it or not.
    ConfigureEnded,
    /// The manifest was read, and another may be wrong with it.
    ManifestRead,
    /// The manifest cannot be used.
    ManifestUnusable(String),
    /// What serves is in force of what the manifest says.
    WordsApply,
    /// What serves does not take what the manifest says.
    WordsRefused(String),
    /// A version did not come to serve, or what serves does not take its configuration.
    Refused(Refusal),
    /// Someone, or the host, starts the plugin.
    Wanted,
    /// The plugin is started where nothing serves: what failed before no longer counts.
    Pardoned,
    /// A generation serves, in place of what served before.
    Served {
        version: Version,
        /// Whether it has state to save.
        stateful: bool,
        /// Whether it has yet to prove itself.
        unproven: bool,
        /// Whether it was built from the newest source.
        newest: bool,
    },
    /// What served was taken out for a version that did not come up, and did not come up again itself.
    Lost,
    /// The process of a generation has ended unasked.
    Died(Death),
    /// A time that [`Lifecycle::due`] gave has come.
    Due,
    /// The calls of the generation that is watched, and to which artifact the plugin can go back from it.
    Calls { total: u64, failed: u64, earlier: Option<Digest> },
    /// The task that was to let an artifact serve has ended; [`Input::Served`] came before if it does.
    TaskEnded { serves: bool },
    /// The checkpoint was taken or failed; `late` if its step has not come back.
    CheckpointEnded { late: bool },
    /// What serves is no longer watched: someone has chosen to go back from it.
    Unwatched,
    /// The plugin was stopped.
    Stopped,
}

/// What is to be done at once, in this order, and then.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) now: Vec<Effect>,
    pub(crate) then: Option<Work>,
}

impl Effects {
    fn of(now: impl IntoIterator<Item = Effect>) -> Self {
        Self { now: now.into_iter().collect(), then: None }
    }

    fn work(then: Work) -> Self {
        Self { now: Vec::new(), then: Some(then) }
    }

    fn and_then(self, then: Option<Work>) -> Self {
        Self { then, ..self }
    }
}

/// What is done at once.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answer an order that a stop has overtaken; it is not carried out.
    Refuse(Ticket),
    /// Let the callers that wait know when the restart is due.
    ExpectRestart(Instant),
    /// Report a crash, and in what time the restart is due.
    ReportCrash { version: Version, exit: Exit, restart_in: Option<Duration> },
    /// Let the artifact run no more until someone starts the plugin.
    Quarantine { digest: Digest, reason: String },
    /// Count a restart.
    CountRestart,
    /// Report a restart after so many deaths.
    ReportRestart { deaths: usize },
    /// Report that a version was bad, and that the one before it serves.
    ReportTakenBack { from: Generation, reason: String, fault: String },
    /// Report that a version is bad, and that there is none to go back to.
    ReportNothingEarlier,
    /// Remember that what serves has proved itself.
    RememberGood,
    /// Forget the state that was saved last: it is not to be saved any more, or there is none.
    ForgetState,
}

/// What takes time. Nothing else is done with the plugin until it has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Carry this order out; [`Input::Finished`].
    CarryOut(Ticket),
    /// See whether this change makes the build that runs pointless.
    Consider(Ticket),
    /// Cancel the build, and with it the order that it belongs to.
    CancelBuild,
    /// Let the artifact serve again, or serve in place of a later one; [`Input::TaskEnded`].
    Restart { digest: Digest, goes_back: bool },
    /// Let an earlier artifact serve in place of what serves; [`Input::TaskEnded`].
    GoBack { to: Digest },
    /// Save the state of what serves; [`Input::CheckpointEnded`].
    Checkpoint,
    /// Count the calls of what serves; [`Input::Calls`].
    CountCalls,
}

/// What is done for the generation that serves, or did, and is waited for.
#[derive(Debug)]
enum Task {
    /// A restart, after so many deaths.
    Restart {
        restart: Restart,
        deaths: usize,
    },
    /// The plugin goes back from this generation.
    GoBack {
        from: Generation,
        reason: String,
    },
    Checkpoint,
    Judge,
}

/// An artifact that is to be started again.
#[derive(Clone, Copy, Debug)]
struct Restart {
    digest: Digest,
    /// What died while it was watched, if that is a later artifact.
    instead_of: Option<Version>,
}

/// The lifecycle of one plugin.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    plugin: PluginId,
    policy: Policy,
    faults: Faults,
    intent: Intent,
    service: Service,
    activity: Activity,
    task: Option<Task>,
    waiting: Waiting,
    failures: Failures,
    jitter: Jitter,
}

impl Lifecycle {
    /// Of a plugin that has not run yet, and of which that is known to be wrong: with its manifest, and with its newest
    /// source. The pauses before its restarts vary with `seed`.
    pub(crate) fn new(
        plugin: PluginId,
        policy: Policy,
        (manifest, source): (Option<String>, Option<String>),
        seed: u64,
    ) -> Self {
        Self {
            plugin,
            policy,
            faults: Faults::of_the_past(manifest, source),
            intent: Intent::Rest,
            service: Service::Stopped,
            activity: Activity::Idle,
            task: None,
            waiting: Waiting::default(),
            failures: Failures::default(),
            jitter: Jitter::new(seed),
        }
    }

    /// Takes one step.
    pub(crate) fn step(&mut self, now: Instant, input: Input) -> Effects {
        let may_go_on = matches!(
            input,
            Input::Order(..)
                | Input::Finished
                | Input::Calls { .. }
                | Input::TaskEnded { .. }
                | Input::CheckpointEnded { .. }
        );
        let mut effects = self.take(now, input);
        if effects.then.is_none() && may_go_on {
            let Effects { now, then } = self.attend();
            effects.now.extend(now);
            effects.then = then;
        }
        effects
    }

    fn take(&mut self, now: Instant, input: Input) -> Effects {
        match input {
            Input::Policy(policy) => self.follow(now, policy),
            Input::Order(ticket, request) => {
                self.waiting.push_back((ticket, request));
                Effects::default()
            }
            Input::Finished => {
                self.activity = Activity::Idle;
                Effects::default()
            }
            Input::Served { version, stateful, unproven, newest } => {
                self.faults.serves(newest);
                self.served(now, (version, stateful), unproven)
            }
            Input::Died(death) => self.died(now, death),
            Input::Due => self.due_now(now),
            Input::Calls { total, failed, earlier } => self.judge(now, (total, failed), earlier),
            Input::TaskEnded { serves } => self.task_ended(now, serves),
            quiet => {
                self.note(now, quiet);
                Effects::default()
            }
        }
    }

    /// Takes a step of which nothing is to be done.
    fn note(&mut self, now: Instant, input: Input) {
        match input {
            Input::BuildBegan => {
                self.activity.comes_to(Phase::Build);
                self.service.is_being_replaced();
                self.faults.build_begins();
            }
            Input::BuildEnded => {
                self.activity.comes_to(Phase::Other);
                self.service.goes_on(now);
            }
            Input::BuildFailed(text) => self.faults.build_failed(text),
            Input::Unchanged => self.faults.is_unchanged(),
            Input::ConfigureBegan(by) => self.activity.configure_begins(by),
            Input::ConfigureEnded => self.activity.configure_ends(),
            Input::ManifestRead => self.faults.manifest_is_read(),
            Input::ManifestUnusable(text) => self.faults.manifest_is_unusable(text),
            Input::WordsApply => self.faults.words_apply(),
            Input::WordsRefused(text) => self.faults.words_are_refused(text),
            Input::Refused(refusal) => self.faults.is_refused(refusal, self.activity.configures()),
            Input::Wanted => self.intent = Intent::Run,
            Input::Pardoned => self.failures = Failures::default(),
            Input::Lost => self.service = self.service.ended(),
            Input::CheckpointEnded { late } => {
                self.task = None;
                if late {
                    // Another save would only wait with it.
                    self.service.saves_no_more();
                }
            }
            Input::Unwatched => self.service.is_unwatched(),
            Input::Stopped => {
                self.service = Service::Stopped;
                self.failures = Failures::default();
                self.faults = Faults::default();
            }
            Input::Policy(_)
            | Input::Order(..)
            | Input::Finished
            | Input::Served { .. }
            | Input::Died(_)
            | Input::Due
            | Input::Calls { .. }
            | Input::TaskEnded { .. } => {}
        }
    }

    /// Whether it is to run.
    pub(crate) fn is_wanted(&self) -> bool {
        self.intent == Intent::Run
    }

    /// What served last, and does so still unless it has ended. None once the plugin is stopped.
    pub(crate) fn last(&self) -> Option<Version> {
        self.service.last()
    }

    /// What is wrong with it.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// By whom it is being configured, while it is.
    pub(crate) fn configures(&self) -> Option<By> {
        self.activity.configures()
    }

    /// When something is due next.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.service.due()
    }
}
