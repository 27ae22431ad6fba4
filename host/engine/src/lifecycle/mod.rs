//! The lifecycle of a plugin as a pure state machine: no I/O, no clock, no channel. The worker is the shell around it.
//!
//! [`Lifecycle::step`] takes the time and one [`Input`], changes the state, and returns [`Effects`]: what the worker does at
//! once, and at most one [`Work`], which takes time and whose end is the next input but for what happens meanwhile.
//!
//! The state has these parts, each of which holds only what exists in it:
//!
//! | part | states | left by |
//! |---|---|---|
//! | [`Intent`]: is it to run | `Rest`, `Run` | `Wanted`; an order to stop |
//! | [`Service`]: what serves | `Stopped`: nothing, and nothing served since the last stop | `Served` |
//! | | `Down`: nothing; the process of what served last has ended | `Served`, `Stop`, a failed restart |
//! | | `GivenUp`: nothing; what served last was quarantined, or did not come up again | `Served`, `Stop` |
//! | | `Serving`: one generation, with its [`Trust`] and its checkpoints | `Served`, `Died`, `Stop`, a lost installation |
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
//! | [`Install`]: a version on its way | `Starts`: with the saved state or without | `Served`, `NotInstalled` |
//! | | `Returns`: the version that was stopped for it starts again | `Served`, `NotInstalled` |
//! | [`Saved`]: the state that was saved last | `Checkpoint`: it may be given up | `Ended` |
//! | | `AtStop`: it may not | `Served`, `StateLost`, a stop that discards it |
//! | [`History`]: the versions that have served | | |
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
mod history;
mod input;
mod install;
mod queue;
mod saved;
mod service;
#[cfg(test)]
mod simulation;
mod start;
mod steps;

use crate::id::{Digest, Generation, PluginId};
use budget::{Failures, Jitter};
pub(crate) use build::{Aim, Compiled};
use edit::Words;
pub(crate) use edit::{Edit, Next};
pub(crate) use effect::{Effect, Effects, Work};
pub(crate) use faults::{By, Faults};
use history::History;
pub(crate) use history::Rollback;
pub(crate) use input::{Input, Past};
use install::Install;
pub(crate) use install::{Because, BeginsWith, Candidate, NotInstalled};
use queue::{Activity, Phase, Waiting};
pub(crate) use queue::{Request, Ticket};
pub(crate) use saved::Ending;
use saved::Saved;
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
    install: Option<Install>,
    saved: Saved,
    history: History,
    task: Option<Task>,
    waiting: Waiting,
    failures: Failures,
    jitter: Jitter,
}

impl Lifecycle {
    /// Of a plugin that has not run yet in this host. The pauses before its restarts vary with `seed`.
    pub(crate) fn new(plugin: PluginId, policy: Policy, past: Past, seed: u64) -> Self {
        let Past { manifest, source, saved_at_stop, history, good } = past;
        Self {
            plugin,
            policy,
            words: Words::InForce,
            faults: Faults::of_the_past(manifest, source),
            intent: Intent::Rest,
            service: Service::Stopped,
            activity: Activity::Idle,
            start: None,
            install: None,
            saved: if saved_at_stop { Saved::AtStop } else { Saved::Checkpoint },
            history: History { served: history, good },
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
            Input::Install(candidate) => self.install(candidate),
            Input::NotInstalled(failed) => self.not_installed(failed),
            Input::Served { version, stateful, history } => {
                self.history.served = history;
                self.served(now, (version, stateful))
            }
            Input::RollBack(to) => self.roll_back(to),
            Input::Stop { discards } => self.stop(discards),
            Input::Ended { ending, checkpoint } => self.ended(ending, checkpoint),
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
            Input::Calls { total, failed } => self.judge(now, (total, failed)),
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
            Input::Unchanged => {
                self.install = None;
                self.faults.is_unchanged();
            }
            Input::PassedOver => self.install = None,
            Input::StateLost => self.saved = Saved::Checkpoint,
            Input::ConfigureBegan => self.activity.configure_begins(By::Order, false),
            Input::ManifestUnusable(text) => self.faults.manifest_is_unusable(text),
            Input::WordsApply => self.faults.words_apply(),
            Input::WordsRefused(text) => {
                self.words = Words::Pending;
                self.faults.words_are_refused(text);
            }
            Input::Refused(text) => self.faults.is_refused(text, self.activity.configures()),
            Input::Wanted => self.intent = Intent::Run,
            Input::Pardoned => self.failures = Failures::default(),
            Input::CheckpointEnded { late } => {
                self.task = None;
                if late {
                    // Another save would only wait with it.
                    self.service.saves_no_more();
                }
            }
            Input::Accepted(_)
            | Input::ManifestRead(_)
            | Input::ConfigureEnded
            | Input::Order(..)
            | Input::Finished
            | Input::Install(_)
            | Input::NotInstalled(_)
            | Input::Served { .. }
            | Input::RollBack(_)
            | Input::Stop { .. }
            | Input::Ended { .. }
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
