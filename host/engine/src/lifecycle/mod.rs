//! The lifecycle of a plugin as a pure state machine: no I/O, no clock, no channel. The worker is the shell around it.
//!
//! [`Lifecycle::step`] takes the time and one [`Input`], changes the state, and returns [`Effects`]: what the worker does at
//! once, and at most one [`Work`], which takes time and whose end is the next input but for what happens meanwhile.
//!
//! The state has seven parts, each of which holds only what exists in it:
//!
//! | part | states | left by |
//! |---|---|---|
//! | [`Intent`]: is it to run | `Rest`, `Run` | `Wanted`; an order to stop |
//! | [`Service`]: what serves | `Stopped`: nothing, and nothing served since the last stop | `Served` |
//! | | `Down`: nothing; what served last has ended, or was quarantined | `Served`, `Stopped`, a failed restart |
//! | | `Serving`: one generation, with its [`Trust`] and its checkpoints | `Served`, `Died`, `Lost`, `Stopped` |
//! | | `Backoff`: nothing until a time, at which an artifact is restarted | `Due`, `Served`, an order to stop |
//! | [`Activity`]: what is done with it | `Idle` | `Order` |
//! | | `Order`, in a [`Phase`]: a build, a new configuration, or something else | `Finished` |
//! | a build in it | waits for git | `GitIsQuiet`, an order to stop |
//! | | compiles | `Compiled`, `Considered`, an order to stop |
//! | | considers a change | `Considered` |
//! | | pauses | `PauseOver`, an order to stop |
//! | [`Start`]: how it comes up, if it is to | from the store, from its source, from the store again | `Tried`, `SourceTried` |
//! | [`Words`]: what the manifest says by now | `InForce` | `ManifestRead`, `WordsRefused` |
//! | | `Pending`: until another version has come up | `Accepted` |
//! | [`Faults`]: what is wrong with it | its manifest, what that says, its newest source, something else | what puts it right |
//! | [`Task`]: what it needs itself | `Restart`, `GoBack`, `Checkpoint`, `Judge`; or none | its end |
//!
//! Which order is next, which waits and which one a stop refuses, how a plugin comes up, how a build goes on, what an edit of
//! the manifest leaves to do, what is wrong, and everything about a generation that serves is decided here. What takes files,
//! processes and the plugin's code to find out, the worker finds out and hands in. The steps of a reload, which has a thread of
//! its own, are a small machine for themselves: [`Steps`].

mod budget;
mod build;
mod edit;
mod effect;
mod faults;
mod queue;
mod service;
#[cfg(test)]
mod simulation;
mod start;
mod steps;

use crate::{
    id::{Digest, Generation, PluginId},
    record::How,
};
use budget::{Failures, Jitter};
pub(crate) use build::{Aim, Compiled};
use edit::Words;
pub(crate) use edit::{Edit, Next};
pub(crate) use effect::{Effect, Effects, Work};
pub(crate) use faults::{By, Faults, Refusal, Refused};
use queue::{Activity, Phase, Waiting};
pub(crate) use queue::{Request, Ticket};
use service::Service;
pub(crate) use service::{Death, Exit};
use start::Start;
pub(crate) use start::StartBy;
use std::time::{Duration, Instant};
pub(crate) use steps::Steps;

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
    /// The plugin follows another manifest from now on.
    Accepted(Policy),
    /// An order was given.
    Order(Ticket, Request),
    /// The order that was under way is carried out, or has failed.
    Finished,
    /// The order under way comes to a build: from now on it can be cancelled.
    Build(Aim),
    /// Git writes no files, or has taken too long.
    GitIsQuiet,
    /// The change that was to be considered makes pointless what is compiled, or does not.
    Considered { supersedes: bool },
    /// Compiling has ended by itself.
    Compiled(Compiled),
    /// What was missing has had time to come back.
    PauseOver,
    /// What was built is no library, and that is to be known.
    BuildFailed(String),
    /// The same, but the manifest was missing: then it is clear whether the plugin is gone.
    BuildUnclear { until: Instant },
    /// The plugin is elsewhere now.
    Moved,
    /// The build gave what serves.
    Unchanged,
    /// What serves is about to be configured, as the order under way asks.
    ConfigureBegan,
    /// It takes its configuration, or does not, or has come up again with it or not.
    ConfigureEnded,
    /// The manifest was read, and differs like this from what is in force.
    ManifestRead(Edit),
    /// The manifest cannot be used.
    ManifestUnusable(String),
    /// What serves takes what the manifest says.
    WordsApply,
    /// What serves does not take what the manifest says.
    WordsRefused(String),
    /// A version did not come to serve, or what serves does not take its configuration.
    Refused(Refusal),
    /// Someone, or the host, starts the plugin.
    Wanted,
    /// The plugin is started where nothing serves: what failed before no longer counts.
    Pardoned,
    /// The plugin is to come up. These versions may before anything is built, the best first.
    Start { by: StartBy, stored: Vec<Digest> },
    /// A stored version serves, or does not; and whether because of what the manifest says.
    Tried { serves: bool, is_unfit: bool },
    /// Whoever waits for the start was answered.
    StartAnswered,
    /// The source was built. Something serves, or these versions may.
    SourceTried { serves: bool, stored: Vec<Digest> },
    /// A generation serves, in place of what served before.
    Served {
        version: Version,
        /// Whether it has state to save.
        stateful: bool,
        how: How,
        /// Whether something served until then.
        replaces: bool,
        /// Whether another artifact was good last, and this one has not proved itself since.
        is_unconfirmed: bool,
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
    words: Words,
    faults: Faults,
    intent: Intent,
    service: Service,
    activity: Activity,
    start: Option<Start>,
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
            words: Words::InForce,
            faults: Faults::of_the_past(manifest, source),
            intent: Intent::Rest,
            service: Service::Stopped,
            activity: Activity::Idle,
            start: None,
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
                | Input::Considered { .. }
        );
        let mut effects = self.take(now, input);
        // A stop comes before what a build would do next.
        let builds_on = matches!(effects.then, Some(Work::WaitForGit | Work::Compile | Work::Pause));
        let is_overtaken = builds_on && self.is_overtaken();
        if effects.then.is_none() && may_go_on || is_overtaken {
            let Effects { now, then } = self.attend();
            effects.now.extend(now);
            effects.then = then;
        }
        effects
    }

    fn take(&mut self, now: Instant, input: Input) -> Effects {
        match input {
            Input::Accepted(policy) => {
                self.words = Words::InForce;
                self.follow(now, policy)
            }
            Input::ManifestRead(edit) => self.manifest_read(edit),
            Input::ConfigureEnded => self.configured(),
            Input::Order(ticket, request) => {
                self.waiting.push_back((ticket, request));
                Effects::default()
            }
            Input::Finished => {
                (self.activity, self.start) = (Activity::Idle, None);
                Effects::default()
            }
            Input::Served { version, stateful, how, replaces, is_unconfirmed } => {
                self.faults.serves(how == How::Built);
                let unproven = match how {
                    How::Built => replaces || is_unconfirmed,
                    // Its host has ended or its process has, before that was known.
                    How::Again => is_unconfirmed,
                    // Two bad versions would take turns for ever.
                    How::WentBack => false,
                };
                self.served(now, (version, stateful), unproven)
            }
            Input::Died(death) => self.died(now, death),
            Input::Build(aim) => self.build_begins(aim),
            Input::Start { by, stored } => self.start(by, stored),
            Input::Tried { serves, is_unfit } => self.tried(serves, is_unfit),
            Input::StartAnswered => self.start_is_answered(),
            Input::SourceTried { serves, stored } => self.source_tried(serves, stored),
            Input::GitIsQuiet => self.git_is_quiet(),
            Input::Considered { supersedes } => self.considered(supersedes),
            Input::Compiled(compiled) => self.compiled(compiled),
            Input::PauseOver => self.pause_over(),
            Input::Due => self.due_now(now),
            Input::Calls { total, failed, earlier } => self.judge(now, (total, failed), earlier),
            Input::TaskEnded { serves } => self.task_ended(now, serves),
            quiet => {
                self.note(quiet);
                Effects::default()
            }
        }
    }

    /// Takes a step of which nothing is to be done.
    fn note(&mut self, input: Input) {
        match input {
            Input::BuildFailed(text) => self.faults.build_failed(text),
            Input::BuildUnclear { until } => self.faults.build_is_unclear(until),
            Input::Moved => self.faults.forget_unclear(),
            Input::Unchanged => self.faults.is_unchanged(),
            Input::ConfigureBegan => self.activity.configure_begins(By::Order, false),
            Input::ManifestUnusable(text) => self.faults.manifest_is_unusable(text),
            Input::WordsApply => self.faults.words_apply(),
            Input::WordsRefused(text) => {
                self.words = Words::Pending;
                self.faults.words_are_refused(text);
            }
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
            Input::Accepted(_)
            | Input::ManifestRead(_)
            | Input::ConfigureEnded
            | Input::Order(..)
            | Input::Finished
            | Input::Served { .. }
            | Input::Died(_)
            | Input::Build(_)
            | Input::Start { .. }
            | Input::Tried { .. }
            | Input::StartAnswered
            | Input::SourceTried { .. }
            | Input::GitIsQuiet
            | Input::Considered { .. }
            | Input::Compiled(_)
            | Input::PauseOver
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
        self.service.due().into_iter().chain(self.faults.due()).min()
    }
}
