//! The lifecycle of a plugin as a pure state machine: no I/O, no clock, no channel. The worker is the shell around it.
//!
//! [`Lifecycle::step`] takes the time and one [`Input`], changes the state, and returns [`Effects`]: the effects that
//! the worker carries out immediately, and at most one [`Work`], which takes time. The worker passes the result of the
//! work to the lifecycle as a later input. It may pass other inputs before that result.
//!
//! The state has these parts:
//!
//! | part | states | inputs that end the state |
//! |---|---|---|
//! | [`Intent`]: whether the plugin should run now | `Rest`, `Run` | `Wanted`, `HostStarts`; a command to stop |
//! | [`Wanted`]: whether the plugin should run in each host | `AsManifest`, `Running`, `Stopped`, `Unregistered` | `Wanted`, `Stop` |
//! | [`Service`]: the serving generation | `Stopped`: no generation has served since the last stop | `Served` |
//! | | `Down`: the process of the last generation has ended | `Served`, `Stop`, a failed restart |
//! | | `GivenUp`: the last generation was quarantined, or did not start again | `Served`, `Stop` |
//! | | `Serving`: a generation serves; the state holds its `Trust` and its checkpoints | `Served`, `Died`, `Stop`, `NotInstalled` |
//! | | `Backoff`: no generation serves until an artifact is restarted | `Due`, `Served`, a command to stop |
//! | [`Activity`]: the command that is being carried out | `Idle` | `Command` |
//! | | `Command`, in a [`Phase`]: a build, a new configuration, a stop, or other work | `Finished` |
//! | the stage of a build | waits for git | `GitIsQuiet`, a command to stop |
//! | | compiles | `CompilerEnded`, a change, a command to stop |
//! | | considers a change | `Considered` |
//! | | is examined | `Compiled` |
//! | | pauses | `PauseOver`, a command to stop |
//! | [`Start`]: how the plugin starts, if it is starting | from the store, from its source, from the store again | `Tried`, `SourceTried` |
//! | [`Install`]: the version that is being installed, if any | `Starts`: with the saved state or without | `Served`, `Unchanged`, `PassedOver`, `NotInstalled` |
//! | | `Returns`: the version that was stopped to make room starts again | `Served`, `NotInstalled` |
//! | [`Saved`]: the state that was saved last | `Checkpoint`: it is discarded if a version rejects it | `Ended` |
//! | | `AtStop`: it is kept | `Served`, `StateLost`, a stop that discards it |
//! | [`Manifests`] | `InForce`: the manifest that was read last is in force | `ManifestRead`, `ManifestRefused` |
//! | | `Pending`: the manifest that was read last is not in force yet | `Served`, `ConfigureEnded`, `ManifestRead`, `Returned` |
//! | [`Override`]: a configuration that was set by a command, if any | | `ManifestRead` with a different configuration, `Returned` |
//! | [`Overlap`]: the files that have changed during builds | | |
//! | [`History`]: which versions have served, and which was confirmed last | | |
//! | [`Faults`]: the faults of the plugin | its manifest is unreadable or was rejected; its newest source does not serve; another failure | the repair of the fault |
//! | [`Task`]: work that the lifecycle has begun without a command | `Restart`, `GoBack`, `Checkpoint`, `Judge`, or none | the end of the work |
//!
//! The lifecycle decides:
//!
//! * which command is carried out next, which one waits, and which one is rejected because of a stop;
//! * whether the plugin starts with its host, with which version it starts, with which saved state, and what follows if that version does not start;
//! * which changed files cause a build, how a build continues, and whether a failed build is repeated;
//! * the work that follows an edit of the manifest or a stop;
//! * the target of a rollback, and the artifact that a build does not install again after a rollback;
//! * where an artifact runs that has crashed, and when its quarantine ends;
//! * which faults a plugin has, and when and how failures are reported;
//! * when the serving generation is restarted, rolled back, quarantined or saved.
//!
//! Whatever depends on files, processes or the plugin's code is determined by the worker and passed to the lifecycle. A
//! reload runs on its own thread, and has a small state machine for its steps: [`StepState`].

mod backoff;
mod build;
mod compiled;
mod crashed;
mod effect;
mod faults;
mod history;
mod input;
mod install;
mod manifest;
mod on_save;
mod overlap;
mod queue;
mod report;
mod saved;
mod service;
mod settings;
#[cfg(test)]
mod simulation;
mod start;
mod steps;
mod wanted;

use crate::{
    id::{Digest, Generation, PluginId},
    manifest::Manifest,
    record::Wanted,
};
use backoff::{Failures, Jitter};
pub(crate) use build::Aim;
pub(crate) use compiled::{CompileFailure, Compiled, NeededFile};
pub(crate) use crashed::{AfterCrash, Processes, StoredVersion};
pub(crate) use effect::{Effect, Effects, Work};
use faults::By;
pub(crate) use faults::Faults;
pub(crate) use history::{History, Rollback};
pub(crate) use input::{Input, Past};
use install::Install;
pub(crate) use install::{Because, BeginsWith, Installation, NotInstalled};
pub(crate) use manifest::{Config, ManifestFile, Next, ProcessSettings, Reading};
use manifest::{Manifests, Override};
use overlap::Overlap;
pub(crate) use overlap::{Contents, Observation};
use queue::{Activity, Phase, Waiting};
pub(crate) use queue::{CommandKind, Ticket};
pub(crate) use report::{FailureReport, Placement, ReportTime};
pub(crate) use saved::Ending;
use saved::Saved;
use service::Service;
pub(crate) use service::{Death, Exit};
pub(crate) use settings::{Confirm, Policy};
use start::Start;
use std::{sync::Arc, time::Instant};
pub(crate) use steps::StepState;
pub(crate) use wanted::{Programs, StopWhy};

/// An artifact, and one generation of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct VersionId {
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
}

/// Whether the plugin should run now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Rest,
    Run,
}

/// Work that the lifecycle has begun without a command. The lifecycle waits for its end.
#[derive(Debug)]
enum Task {
    /// A restart. `deaths` counts the recent unexpected exits of the process.
    Restart {
        restart: Restart,
        deaths: usize,
    },
    /// A rollback from this version.
    GoBack {
        from: VersionId,
        reason: String,
    },
    Checkpoint,
    Judge,
}

/// An artifact to restart.
#[derive(Clone, Copy, Debug)]
struct Restart {
    digest: Digest,
    /// If the restart is a rollback: the later version, whose process ended while the version was watched.
    instead_of: Option<VersionId>,
}

/// The lifecycle of one plugin.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    plugin: PluginId,
    policy: Policy,
    processes: Processes,
    manifests: Manifests,
    overrides: Option<Override>,
    /// Whether the plugin's folder was moved, and its manifest was not read in the new folder yet.
    is_unread_since_move: bool,
    faults: Faults,
    intent: Intent,
    wanted: Wanted,
    service: Service,
    activity: Activity,
    start: Option<Start>,
    install: Option<Install>,
    saved: Saved,
    /// Whether the version that served last runs in a child process although its manifest does not request that.
    is_moved: bool,
    history: History,
    task: Option<Task>,
    waiting: Waiting,
    failures: Failures,
    /// The number of consecutive builds that have failed since a file was edited.
    failed_builds: u32,
    overlap: Overlap,
    jitter: Jitter,
}

impl Lifecycle {
    /// The lifecycle of a plugin that has not run yet in this host. `processes`: whether the host can run child processes.
    /// The pauses before the plugin's restarts vary with `seed`.
    pub(crate) fn new(manifest: Arc<Manifest>, past: Past, (processes, seed): (Processes, u64)) -> Self {
        let Past { wanted, unusable, source, saved_at_stop, history } = past;
        Self {
            plugin: manifest.id.clone(),
            policy: Policy::of(&manifest),
            processes,
            manifests: Manifests::InForce(manifest),
            overrides: None,
            is_unread_since_move: false,
            faults: Faults::of_the_past(unusable, source),
            intent: Intent::Rest,
            wanted,
            service: Service::Stopped,
            activity: Activity::Idle,
            start: None,
            install: None,
            saved: if saved_at_stop { Saved::AtStop } else { Saved::Checkpoint },
            is_moved: false,
            history,
            task: None,
            waiting: Waiting::default(),
            failures: Failures::default(),
            failed_builds: 0,
            overlap: Overlap::default(),
            jitter: Jitter::new(seed),
        }
    }

    /// Takes one step.
    pub(crate) fn step(&mut self, now: Instant, input: Input) -> Effects {
        let may_go_on = matches!(
            input,
            Input::Command(..)
                | Input::Finished
                | Input::Calls { .. }
                | Input::TaskEnded { .. }
                | Input::CheckpointEnded { .. }
                | Input::Considered { .. }
        );
        let mut effects = self.take(now, input);
        // A waiting stop takes precedence over the next stage of a build.
        let builds_on = matches!(effects.then, Some(Work::WaitForGit | Work::Compile { .. } | Work::Pause));
        let is_overtaken = builds_on && self.is_overtaken();
        if effects.then.is_none() && may_go_on || is_overtaken {
            let Effects { now, then } = self.take_waiting();
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
            Input::StartAsked { serves, quarantined, crashed } => {
                self.start_asked(serves, (quarantined, crashed))
            }
            Input::Command(ticket, kind) => {
                self.waiting.push_back((ticket, kind));
                Effects::default()
            }
            Input::Finished => {
                (self.activity, self.start) = (Activity::Idle, None);
                Effects::default()
            }
            Input::Install(installation) => self.install(installation),
            Input::NotInstalled(failed) => self.not_installed(failed),
            Input::Served { version, stateful, history } => {
                self.history.served = history;
                self.served(now, (version, stateful))
            }
            Input::RollBack(to) => self.roll_back(to),
            Input::Stop(why) => self.stop(why),
            Input::Ended { ending, checkpoint } => self.ended(ending, checkpoint),
            Input::Placed(placement) => self.is_placed(placement),
            Input::LookedForManifest { is_missing } => self.manifest_is_looked_for(is_missing),
            Input::Died(death) => self.died(now, death),
            Input::Build(aim) => self.build_begins(aim),
            Input::Wanted => self.user_wants(),
            Input::HostStarts(programs) => self.host_starts(&programs),
            Input::Start { stored, takes_time } => self.start(stored, takes_time),
            Input::Tried { serves } => self.tried(serves),
            Input::StartAnswered => self.start_is_answered(),
            Input::SourceTried { serves, stored } => self.source_tried(serves, stored),
            Input::GitIsQuiet { at, file } => self.git_is_quiet(at, file),
            Input::Changed(seen) => self.changed(now, &seen),
            Input::Considered { seen, is_unread } => self.considered(&seen, is_unread),
            Input::CompilerEnded { at, contents } => self.compiler_ended(now, (at, &contents)),
            Input::Compiled(compiled) => self.compiled(&compiled),
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

    /// Takes an input that only changes the state: it requires no effects.
    fn note(&mut self, input: Input) {
        match input {
            Input::Unchanged => {
                self.install = None;
                self.faults.is_unchanged();
                self.history.is_unchanged();
            }
            Input::PassedOver => self.install = None,
            Input::StateLost => self.saved = Saved::Checkpoint,
            Input::ManifestUnusable(text) => self.faults.manifest_is_unusable(text),
            Input::ManifestRefused { manifest, text } => self.manifest_refused(manifest, text),
            Input::Refused(text) => self.faults.is_refused(text, self.activity.configures()),
            Input::CheckpointEnded { late } => {
                self.task = None;
                if late {
                    // The save that did not return in time still runs, and another save would only wait for it.
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
            | Input::Command(..)
            | Input::Finished
            | Input::Install(_)
            | Input::NotInstalled(_)
            | Input::Served { .. }
            | Input::RollBack(_)
            | Input::Stop(_)
            | Input::Ended { .. }
            | Input::Placed(_)
            | Input::LookedForManifest { .. }
            | Input::Died(_)
            | Input::Build(_)
            | Input::Wanted
            | Input::HostStarts(_)
            | Input::Start { .. }
            | Input::Tried { .. }
            | Input::StartAnswered
            | Input::SourceTried { .. }
            | Input::GitIsQuiet { .. }
            | Input::Changed(_)
            | Input::Considered { .. }
            | Input::CompilerEnded { .. }
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

    /// The manifest that was read last, whether it is in force or not. A new version follows this manifest.
    pub(crate) fn latest_manifest(&self) -> &Arc<Manifest> {
        self.manifests.latest()
    }

    /// The faults of the plugin.
    pub(crate) fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The time at which the worker has to pass [`Input::Due`] next. `None` if nothing is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.service.due().into_iter().chain(self.faults.due()).chain(self.check_due()).min()
    }
}
