//! What a step of the lifecycle asks for.

#[cfg(doc)]
use super::Input;
use super::{Aim, BeginsWith, Exit, Next, Rollback, Ticket, Version};
use crate::{id::Digest, manifest::Manifest};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What is to be done at once, in this order, and then.
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

/// What is done at once.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answer an order that a stop has overtaken; it is not carried out.
    Refuse(Ticket),
    /// Let the callers that wait know when the restart is due.
    ExpectRestart(Instant),
    /// This manifest is in force from now on.
    Publish(Arc<Manifest>),
    /// Report a crash, and in what time the restart is due.
    ReportCrash { version: Version, exit: Exit, restart_in: Option<Duration> },
    /// Let the artifact run no more until someone starts the plugin.
    Quarantine { digest: Digest, reason: String },
    /// Count a restart.
    CountRestart,
    /// Report a restart after so many deaths.
    ReportRestart { deaths: usize },
    /// Report that a version was bad, and that the one before it serves.
    ReportTakenBack { from: Version, reason: String, fault: String },
    /// Report that a version is bad, and that there is none to go back to.
    ReportNothingEarlier,
    /// Remember that what serves has proved itself.
    RememberGood,
    /// Report the build that has failed while the manifest was missing, unless it still is.
    ReportUnclearBuild,
    /// Report that what was compiled is of no use: it is compiled again.
    ReportSuperseded,
    /// Forget the state that was saved last: it is not to be saved any more, or there is none.
    ForgetState,
    /// Put the last checkpoint aside, which a version has refused with this error.
    LoseCheckpoint(String),
    /// Write the state that was saved, and note that the next start begins with it.
    KeepState,
    /// Note that the next start begins with the last checkpoint.
    NoteState,
    /// Forget the state that was saved last, and that there was one.
    DiscardState,
    /// Report that a state was lost.
    ReportStateLost(String),
}

/// What takes time. Nothing else is done with the plugin until it has ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Work {
    /// Carry this order out; [`Input::Finished`].
    CarryOut(Ticket),
    /// Wait until git writes no files; [`Input::GitIsQuiet`]. What was compiled is of no use.
    WaitForGit,
    /// Compile; [`Input::Compiled`].
    Compile,
    /// Give what is missing time to come back; [`Input::PauseOver`].
    Pause,
    /// See whether this change makes pointless what is compiled; [`Input::Considered`].
    Consider(Ticket),
    /// Take this change in. The next compilation includes it; what is done continues.
    Include(Ticket),
    /// Let the result serve with this aim, or report why there is none. If it `renews`, it becomes a new generation whatever
    /// was built.
    EndBuild { aim: Aim, renews: bool },
    /// Watch what the build that failed would have read. What was saved since it began counts as a change or not.
    Rewatch { since_it_began: bool },
    /// Cancel the build, and with it the order that it belongs to.
    CancelBuild,
    /// Install the version, which begins with this state; [`Input::Served`], [`Input::Unchanged`], [`Input::PassedOver`] or
    /// [`Input::NotInstalled`].
    Install(BeginsWith),
    /// The same for the version that was stopped to make room, which begins with the state that it has saved.
    BringBack,
    /// Report that the version did not come to serve, and before that the same of the one that was stopped for it.
    EndInstall,
    /// Go back, or refuse to.
    RollBack(Rollback),
    /// End what serves; [`Input::Ended`]. Report that the plugin was stopped, if it ran or was about to.
    EndService { saves: bool, report: bool },
    /// Let this stored version serve; [`Input::Tried`].
    ServeStored(Digest),
    /// The same with the configuration that it has accepted before, if that is another; [`Input::Tried`].
    ServeAccepted(Digest),
    /// Bring the plugin up; [`Input::Start`].
    BringUp,
    /// Answer whoever waits for the start; [`Input::StartAnswered`].
    AnswerStart,
    /// Build the source, and let the result serve; [`Input::SourceTried`].
    BuildSource,
    /// The start has come to its end: answer whoever still waits for it.
    EndStart,
    /// Give what serves its new configuration; [`Input::ConfigureEnded`].
    Configure(Arc<Manifest>),
    /// The edit of the manifest has been taken in, as far as what serves is concerned: do this.
    GoOn(Next),
    /// Let the artifact serve again, or serve in place of a later one; [`Input::TaskEnded`].
    Restart { digest: Digest, goes_back: bool },
    /// Let an earlier artifact serve in place of what serves; [`Input::TaskEnded`].
    GoBack { to: Digest },
    /// Save the state of what serves; [`Input::CheckpointEnded`].
    Checkpoint,
    /// Count the calls of what serves; [`Input::Calls`].
    CountCalls,
}
