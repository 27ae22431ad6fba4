//! What a step of the lifecycle asks the worker to do.

#[cfg(doc)]
use super::Input;
use super::{Aim, BeginsWith, Exit, Next, Rollback, Ticket, Version};
use crate::{id::Digest, manifest::Manifest};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What the worker does: first all effects in `now`, in this order, and then the work.
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
    /// Reject an order that a stop has overtaken. The order is not carried out.
    Refuse(Ticket),
    /// Tell the waiting callers when the restart is due.
    ExpectRestart(Instant),
    /// This manifest is in force from now on.
    Publish(Arc<Manifest>),
    /// Report a crash, and how soon the process is restarted.
    ReportCrash { version: Version, exit: Exit, restart_in: Option<Duration> },
    /// Quarantine the artifact until a user starts the plugin.
    Quarantine { digest: Digest, reason: String },
    /// Count a restart.
    CountRestart,
    /// Report a restart. `deaths` is how often the process has ended.
    ReportRestart { deaths: usize },
    /// Report that a version was bad, and that an earlier one serves.
    ReportTakenBack { from: Version, reason: String, fault: String },
    /// Report that a version is bad, and that the plugin cannot go back.
    ReportNothingEarlier,
    /// Record that the serving version has proved itself.
    RememberGood,
    /// Report the build that failed while the manifest was missing, unless the manifest is still missing.
    ReportUnclearBuild,
    /// Report that the compilation was superseded and begins again.
    ReportSuperseded,
    /// Forget the state that was saved last, because the plugin's state is no longer saved or there is none.
    ForgetState,
    /// Put the last checkpoint aside, because a version has rejected it with this error.
    LoseCheckpoint(String),
    /// Write the state that was saved, and note that the next start begins with it.
    KeepState,
    /// Note that the next start begins with the last checkpoint.
    NoteState,
    /// Forget the state that was saved last, and the note on it.
    DiscardState,
    /// Report that a state was lost.
    ReportStateLost(String),
}

/// An action that takes time. The worker begins no other with this plugin until it has ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Work {
    /// Carry this order out; [`Input::Finished`].
    CarryOut(Ticket),
    /// Wait until git writes no files; [`Input::GitIsQuiet`]. An earlier result of the build is dropped.
    WaitForGit,
    /// Compile; [`Input::Compiled`].
    Compile,
    /// Wait a moment, because missing files may come back; [`Input::PauseOver`].
    Pause,
    /// Find out whether this change supersedes the compilation; [`Input::Considered`].
    Consider(Ticket),
    /// Accept this change without interrupting what is done. The next compilation includes it.
    Include(Ticket),
    /// Make the result serve with this aim, or report why there is none. If it `renews`, the result becomes a new
    /// generation even if nothing has changed.
    EndBuild { aim: Aim, renews: bool },
    /// Watch the files that the failed build would have read. `since_it_began`: what was saved since then counts as a
    /// change.
    Rewatch { since_it_began: bool },
    /// Cancel the build and its order.
    CancelBuild,
    /// Install the version, which begins with this state; [`Input::Served`], [`Input::Unchanged`], [`Input::PassedOver`] or
    /// [`Input::NotInstalled`].
    Install(BeginsWith),
    /// Start the version again that was stopped to make room, with the state that it has saved; the inputs are those of
    /// `Install`.
    BringBack,
    /// Report that the version did not come to serve. If the version that was stopped for it did not either, report
    /// that first.
    EndInstall,
    /// Go back, or reject the order.
    RollBack(Rollback),
    /// End the serving generation; [`Input::Ended`]. With `report`, report that the plugin was stopped.
    EndService { saves: bool, report: bool },
    /// Make this stored version serve; [`Input::Tried`].
    ServeStored(Digest),
    /// Make this stored version serve with the configuration that it has accepted before, if that is another;
    /// [`Input::Tried`].
    ServeAccepted(Digest),
    /// Bring the plugin up; [`Input::Start`].
    BringUp,
    /// Answer whoever has asked for the start; [`Input::StartAnswered`].
    AnswerStart,
    /// Build the source, and make the result serve; [`Input::SourceTried`].
    BuildSource,
    /// The start has ended: answer whoever has asked for it and has no answer yet.
    EndStart,
    /// Give the serving generation its new configuration; [`Input::ConfigureEnded`].
    Configure(Arc<Manifest>),
    /// Do this work, which is left of an edit of the manifest.
    GoOn(Next),
    /// Make the artifact serve again, or in place of a later one; [`Input::TaskEnded`].
    Restart { digest: Digest, goes_back: bool },
    /// Make an earlier artifact serve in place of the serving one; [`Input::TaskEnded`].
    GoBack { to: Digest },
    /// Save the state of the serving generation; [`Input::CheckpointEnded`].
    Checkpoint,
    /// Count the calls of the serving generation; [`Input::Calls`].
    CountCalls,
}
