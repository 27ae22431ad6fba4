//! The lifecycle of a plugin as a pure state machine: no I/O, no clock, no channel. The worker is the shell around it.
//!
//! [`Lifecycle::step`] takes the time and one [`Input`], changes the state, and returns [`Effects`]. These are what the worker
//! does at once, and at most one [`Work`], which takes time. The end of the work is the next input, except for what happens
//! meanwhile.
//!
//! The state has these parts. Each holds only what exists in it:
//!
//! | part | states | left by |
//! |---|---|---|
//! | [`Intent`]: whether it is to run | `Rest`, `Run` | `Wanted`; an order to stop |
//! | [`Service`]: what serves | `Stopped`: nothing, and nothing served since the last stop | `Served` |
//! | | `Down`: nothing; the process of what served last has ended | `Served`, `Stop`, a failed restart |
//! | | `GivenUp`: nothing; what served last was quarantined, or did not come up again | `Served`, `Stop` |
//! | | `Serving`: one generation, with its `Trust` and its checkpoints | `Served`, `Died`, `Stop`, `NotInstalled` |
//! | | `Backoff`: nothing until a time at which an artifact is restarted | `Due`, `Served`, an order to stop |
//! | [`Activity`]: what is done with it | `Idle` | `Order` |
//! | | `Order`, in a [`Phase`]: a build, a new configuration, a stop, or something else | `Finished` |
//! | a build in it | waits for git | `GitIsQuiet`, an order to stop |
//! | | compiles | `Compiled`, `Considered`, an order to stop |
//! | | considers a change | `Considered` |
//! | | pauses | `PauseOver`, an order to stop |
//! | [`Start`]: how it comes up, if it is to | from the store, from its source, from the store again | `Tried`, `SourceTried` |
//! | [`Install`]: a version on its way, if there is one | `Starts`: with the saved state or without | `Served`, `Unchanged`, `PassedOver`, `NotInstalled` |
//! | | `Returns`: the version that was stopped to make room starts again | `Served`, `NotInstalled` |
//! | [`Saved`]: the state that was saved last | `Checkpoint`: it is given up if a version refuses it | `Ended` |
//! | | `AtStop`: it is kept | `Served`, `StateLost`, a stop that discards it |
//! | [`Manifests`] | `InForce`: the one that was read last is in force | `ManifestRead`, `ManifestRefused` |
//! | | `Pending`: it waits for another instance | `Served`, `ConfigureEnded`, `ManifestRead`, `Returned` |
//! | [`Override`]: a configuration by order, if there is one | | `ManifestRead` with another configuration, `Returned` |
//! | [`History`]: which versions have served, which was good | | |
//! | [`Faults`]: what is wrong with it | its manifest, what that says, its newest source, something else | what repairs it |
//! | [`Task`]: what it needs itself | `Restart`, `GoBack`, `Checkpoint`, `Judge`; or none | its end |
//!
//! The lifecycle decides which order is next, which waits and which one a stop refuses; how a plugin comes up, and with which
//! saved state; what follows if a version does not come up; how a build continues; what an edit of the manifest and what a
//! stop leave to do; where a rollback leads; what is wrong; and everything about a generation that serves. What takes files,
//! processes or the plugin's code to find out, the worker finds out and hands in. The steps of a reload, which has a thread of
//! its own, are a small machine for themselves: [`Steps`].

mod budget;
mod build;
mod effect;
mod faults;
mod history;
mod input;
mod install;
mod manifest;
mod queue;
mod saved;
mod service;
#[cfg(test)]
mod simulation;
mod start;
mod steps;

use crate::{
    id::{Digest, Generation, PluginId},
    manifest::Manifest,
};
use budget::{Failures, Jitter};
pub(crate) use build::{Aim, Compiled};
pub(crate) use effect::{Effect, Effects, Work};
pub(crate) use faults::{By, Faults};
use history::History;
pub(crate) use history::Rollback;
pub(crate) use input::{Input, Past};
use install::Install;
pub(crate) use install::{Because, BeginsWith, Candidate, NotInstalled};
pub(crate) use manifest::{Config, Next, Reading, Settings};
use manifest::{Manifests, Override};
use queue::{Activity, Phase, Waiting};
pub(crate) use queue::{Request, Ticket};
pub(crate) use saved::Ending;
use saved::Saved;
use service::Service;
pub(crate) use service::{Death, Exit};
use start::Start;
pub(crate) use start::StartBy;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
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

/// The part of the manifest in force that the lifecycle follows.
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

impl Policy {
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let (process, reload) = (&manifest.process, &manifest.reload);
        Self {
            restart_pause: process.restart_pause,
            max_deaths: process.max_deaths,
            death_window: process.death_window,
            confirm: reload.confirm.as_ref().map(|spec| Confirm {
                window: spec.window,
                max_error_rate: spec.max_error_rate,
                min_calls: spec.min_calls,
            }),
            checkpoint: reload.checkpoint,
        }
    }
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
        from: Version,
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
    manifests: Manifests,
    overrides: Option<Override>,
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
    /// How many builds in a row have failed since a file was edited.
    failed_builds: u32,
    jitter: Jitter,
}

impl Lifecycle {
    /// Of a plugin that has not run yet in this host. The pauses before its restarts vary with `seed`.
    pub(crate) fn new(manifest: Arc<Manifest>, past: Past, seed: u64) -> Self {
        let Past { unusable, source, saved_at_stop, history, good, taken_back } = past;
        Self {
            plugin: manifest.id.clone(),
            policy: Policy::of(&manifest),
            manifests: Manifests::InForce(manifest),
            overrides: None,
            faults: Faults::of_the_past(unusable, source),
            intent: Intent::Rest,
            service: Service::Stopped,
            activity: Activity::Idle,
            start: None,
            install: None,
            saved: if saved_at_stop { Saved::AtStop } else { Saved::Checkpoint },
            history: History { served: history, good, taken_back },
            task: None,
            waiting: Waiting::default(),
            failures: Failures::default(),
            failed_builds: 0,
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
            Input::Returned(manifest) => self.returned(now, manifest),
            Input::Moved { root, file } => self.moved(&root, &file),
            Input::ManifestRead { manifest, serves, reading } => {
                self.manifest_read(now, manifest, (serves, reading))
            }
            Input::Configure { config, serves } => self.configure(now, config, serves),
            Input::ConfigureEnded { taken } => self.configured(now, taken),
            Input::BuildFailed { text, is_missing } => self.build_failed(now, text, is_missing),
            Input::StartAsked { serves, pardoned } => self.start_asked(serves, pardoned),
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
            Input::Edited => self.failed_builds = 0,
            Input::UnclearBuildFailed(text) => self.faults.build_failed(text),
            Input::Unchanged => {
                self.install = None;
                self.faults.is_unchanged();
            }
            Input::PassedOver => self.install = None,
            Input::StateLost => self.saved = Saved::Checkpoint,
            Input::ManifestUnusable(text) => self.faults.manifest_is_unusable(text),
            Input::ManifestRefused { manifest, text } => self.manifest_refused(manifest, text),
            Input::Refused(text) => self.faults.is_refused(text, self.activity.configures()),
            Input::Wanted => self.intent = Intent::Run,
            Input::CheckpointEnded { late } => {
                self.task = None;
                if late {
                    // Another save would only wait with it.
                    self.service.saves_no_more();
                }
            }
            Input::Returned(_)
            | Input::Moved { .. }
            | Input::ManifestRead { .. }
            | Input::Configure { .. }
            | Input::ConfigureEnded { .. }
            | Input::BuildFailed { .. }
            | Input::StartAsked { .. }
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

    /// The manifest that is in force.
    pub(crate) fn manifest(&self) -> &Arc<Manifest> {
        self.manifests.in_force()
    }

    /// The manifest that was read last, whether it is in force or not: a new version is to follow it.
    pub(crate) fn latest_manifest(&self) -> &Arc<Manifest> {
        self.manifests.latest()
    }

    /// Whether the configuration was set by an order.
    pub(crate) fn is_overridden(&self) -> bool {
        self.overrides.is_some()
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
