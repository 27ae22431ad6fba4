//! The outputs of a step of the lifecycle: the actions that the worker carries out.

#[cfg(doc)]
use super::Input;
use super::{AfterCrash, Aim, BeginsWith, Exit, Next, ReportTime, Rollback, Ticket, VersionId};
#[cfg(doc)]
use crate::watch::CLOCK_GRAIN;
use crate::{id::Digest, manifest::Manifest, record::Wanted, watch::Change};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// The actions that follow from a step. The worker carries out all effects in `now`, in this order, and then the work.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    pub(crate) now: Vec<Effect>,
    pub(crate) then: Option<Work>,
}

impl Effects {
    pub(super) fn of(now: impl IntoIterator<Item = Effect>) -> Self {
        Self { now: now.into_iter().collect(), then: None }
    }

    pub(super) fn work(then: Work) -> Self {
        Self { now: Vec::new(), then: Some(then) }
    }

    pub(super) fn and_then(self, then: Option<Work>) -> Self {
        Self { then, ..self }
    }
}

/// An action that takes no time.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Reject a command, without carrying it out, because a stop has made it pointless.
    Refuse(Ticket),
    /// Set the time of the restart that callers wait for.
    ExpectRestart(Instant),
    /// Record whether the plugin should run.
    RememberWanted(Wanted),
    /// Make the manifest in force visible to the rest of the host.
    Publish(Arc<Manifest>),
    /// Report a crash, and how soon the process is restarted.
    ReportCrash { version: VersionId, exit: Exit, restart_in: Option<Duration> },
    /// Quarantine the artifact until a user starts the plugin.
    Quarantine { digest: Digest, reason: String },
    /// Record that the artifact has crashed in a child process.
    Demote { digest: Digest, signal: Option<String> },
    /// End the quarantine of all versions.
    LiftQuarantine,
    /// Remove the records of all crashed artifacts of the plugin.
    LiftDemotions,
    /// Report that the serving version runs in a child process, and why.
    ReportMoved,
    /// Make the postponed reports of failures.
    ReportFailures,
    /// Count a restart.
    CountRestart,
    /// Report a restart. `deaths` counts the recent unexpected exits of the process.
    ReportRestart { deaths: usize },
    /// Report that a version was rolled back, and that an earlier version serves. `reason` says in the event why the
    /// version was rolled back. `fault` is stored in the record: it says what is wrong with the version's source, until
    /// the source is edited.
    ReportTakenBack { from: VersionId, reason: String, fault: String },
    /// Report that too many calls of a version fail, and that there is no earlier version to roll back to.
    ReportNothingEarlier,
    /// Record that the serving version is confirmed.
    RememberGood,
    /// Report the build that failed while the manifest was missing.
    ReportUnclearBuild,
    /// Report that the build begins again, because of the change `by` or, if that is `None`, because files were
    /// missing. If `by` is a change of the manifest, the manifest is read before the build begins again.
    ReportSuperseded { by: Option<Change> },
    /// Warn that every build writes these files with different content.
    WarnOfUnstable(Vec<PathBuf>),
    /// Remove the state that was saved last: it is outdated, because the manifest no longer requests checkpoints, or
    /// because the generation has no state.
    ForgetState,
    /// A version has rejected the last checkpoint with this error: rename the file, so that it is not used again.
    LoseCheckpoint(String),
    /// Write the state that was saved at the stop, and record that the next start begins with it.
    KeepState,
    /// Record that the next start begins with the last checkpoint.
    NoteState,
    /// Remove the state that was saved last, and the record that the next start begins with it.
    DiscardState,
    /// Report that a state was lost, for this reason.
    ReportStateLost(String),
}

/// An action that takes time. Until it has ended, the worker begins no other action for this plugin. If an input
/// reports the result of the action, the documentation of the variant ends with that input.
#[derive(Debug, PartialEq)]
pub(crate) enum Work {
    /// Carry out this command; [`Input::Finished`].
    CarryOut(Ticket),
    /// Wait until git has stopped writing files, before the compilation. If the build begins again, discard the result
    /// of its earlier compilation; [`Input::GitIsQuiet`].
    WaitForGit,
    /// With `reads_manifest`, read the manifest. Compile; [`Input::CompilerEnded`].
    Compile { reads_manifest: bool },
    /// Pause, because missing files may be written again; [`Input::PauseOver`].
    Pause,
    /// Observe the changed file; [`Input::Considered`].
    Consider(Ticket),
    /// Observe the changed file again after [`CLOCK_GRAIN`]. A file that is written in several steps is complete then;
    /// [`Input::Considered`].
    ConsiderAgain,
    /// With `reads_manifest`, read the manifest. Observe the result of the compilation; [`Input::Compiled`].
    Examine { reads_manifest: bool },
    /// Build because of this change; [`Input::Build`].
    BuildChange(Change),
    /// Read the manifest, because of this change; [`Input::ManifestRead`]. With `builds`, then build if the edit of the
    /// manifest requires it.
    ReadManifest { change: Change, builds: bool },
    /// Find out whether the manifest is still missing; [`Input::LookedForManifest`].
    LookForManifest,
    /// Put this change into the worker's own mailbox, as if the watcher had reported it again; [`Input::Command`].
    ReportAgain(Change),
    /// Take this change from the mailbox, and do nothing else: no compilation runs now, and the one that follows
    /// includes the change.
    Include(Ticket),
    /// Install the result of the build with this aim, or report why there is no result. With `renews`, the result
    /// becomes a new generation even if nothing has changed. If the result is the artifact `passes_over`, the serving
    /// version continues to serve.
    EndBuild { aim: Aim, renews: bool, passes_over: Option<Digest> },
    /// Watch the files that the failed build would have read, and report the failure at the time `report`. With
    /// `since_it_began`, a file that was saved since the build began counts as a change.
    Rewatch { since_it_began: bool, report: ReportTime },
    /// Cancel the build, and the command that it is part of.
    CancelBuild,
    /// Install the version, with this state. If the artifact is recorded as crashed, it runs where [`AfterCrash`] says;
    /// [`Input::Served`], [`Input::Unchanged`], [`Input::PassedOver`] or [`Input::NotInstalled`].
    Install(BeginsWith, AfterCrash),
    /// Restart the old version, with the state that it has saved. With `order = "stop-first"`, it was stopped before
    /// the new version started, which has failed; [`Input::Served`] or [`Input::NotInstalled`].
    BringBack(AfterCrash),
    /// Report at this time that the version failed to start. If the version that was stopped to make room did not start
    /// again, report that first.
    EndInstall(ReportTime),
    /// Roll back, or reject the command.
    RollBack(Rollback),
    /// Stop the serving generation. With `saves`, save its state. With `report`, report that the plugin was stopped;
    /// [`Input::Ended`].
    EndService { saves: bool, report: bool },
    /// Install this stored version with this manifest; [`Input::Tried`].
    ServeStored { digest: Digest, manifest: Arc<Manifest> },
    /// Start the plugin; [`Input::Start`].
    BringUp,
    /// Answer the caller that waits for the start; [`Input::StartAnswered`].
    AnswerStart,
    /// Build the source, and install the result; [`Input::SourceTried`].
    BuildSource,
    /// Answer the caller that waits for the start, unless it was answered before.
    EndStart,
    /// Give the serving generation its new configuration; [`Input::ConfigureEnded`].
    Configure(Arc<Manifest>),
    /// Do the work that remains after an edit of the manifest.
    GoOn(Next),
    /// Restart the artifact. With `goes_back`, the restart is a rollback from a later artifact; [`Input::TaskEnded`].
    Restart { digest: Digest, goes_back: bool },
    /// Roll back from the serving artifact to an earlier one; [`Input::TaskEnded`].
    GoBack { to: Digest },
    /// Save the state of the serving generation; [`Input::CheckpointEnded`].
    Checkpoint,
    /// Count the calls of the serving generation; [`Input::Calls`].
    CountCalls,
}
