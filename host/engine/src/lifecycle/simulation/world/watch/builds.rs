//! The rules of builds.

use super::{
    super::{Command, compiled::CompileEnd},
    Watch,
};
use crate::{
    build::OwnWrites,
    lifecycle::{Aim, Input, Observation, Ticket, Work},
    watch::{CLOCK_GRAIN, Change, Content},
};
use std::{collections::BTreeMap, time::SystemTime};

/// The maximum number of consecutive builds that changes in one folder supersede.
const EDITS: u32 = 4;

/// The maximum number of consecutive builds that are repeated because of one file.
const REPEATS: u32 = 2;

/// The expected state of a build.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builds {
    pub(super) aim: Aim,
    /// How many times the build may still pause after a failure.
    retries: u32,
    /// How many times the build may still pause for a library that is being copied.
    waits: u32,
    /// How the last compilation has ended.
    ended: CompileEnd,
    /// The stage of the build.
    pub(super) at: At,
    /// Whether the build has to begin next, or to begin again.
    begins: bool,
    /// Whether a change is being considered.
    considers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum At {
    Git,
    Compiler,
    Change,
    Examine,
    Pause,
    End,
}

impl Work {
    pub(super) fn is_of_a_build(&self) -> bool {
        matches!(
            self,
            Self::WaitForGit
                | Self::Compile { .. }
                | Self::Pause
                | Self::Consider(_)
                | Self::ConsiderAgain
                | Self::Examine { .. }
                | Self::Include(_)
                | Self::EndBuild { .. }
        )
    }
}

impl Watch {
    /// Records an input that concerns the build.
    pub(super) fn build_takes(&mut self, input: &Input) {
        let Some(builds) = &mut self.builds else { return };
        builds.considers = matches!(input, Input::Considered { .. });
        if builds.considers {
            builds.at = At::Compiler;
        }
    }

    /// Checks that the build may begin again because of this change, if any.
    pub(in super::super) fn is_superseded(&mut self, by: Option<&Change>) {
        let Some(mut builds) = self.builds else {
            return self.rule(false, || "a build that does not run is superseded".into());
        };
        builds.begins = true;
        if builds.considers && builds.aim != Aim::Renew {
            builds.aim = Aim::Update;
        }
        self.builds = Some(builds);
        let (at, needed) = (builds.at, if by.is_some() { At::Compiler } else { At::Pause });
        self.rule(at == needed, || format!("a build is superseded by {by:?} at {at:?}"));
        if let Some(change) = by {
            self.is_superseded_by(change, builds.considers);
        }
    }

    /// Checks that only a limited number of consecutive builds is superseded or repeated because of the same files.
    fn is_superseded_by(&mut self, change: &Change, while_it_compiles: bool) {
        let folder = change.path.parent().unwrap_or(&change.path).to_owned();
        let is_new = matches!(change.before, None | Some(Content::Gone));
        if while_it_compiles {
            *self.superseded.entry(folder.clone()).or_default() += 1;
            let in_a_row = self.superseded_in_a_row.entry(folder).or_default();
            *in_a_row += 1;
            let is_bounded = *in_a_row <= EDITS;
            self.rule(is_bounded, || format!("{change:?} supersedes a build too often"));
        } else {
            // After a completed build, the number of superseded builds in a row is counted from zero for every folder.
            self.superseded_in_a_row.clear();
            let source = if is_new { folder } else { change.path.clone() };
            let before = self.repeated_in_a_row.take().filter(|(it, _)| *it == source);
            let in_a_row = before.map_or(1, |(_, before)| before + 1);
            self.repeated_in_a_row = Some((source, in_a_row));
            let is_bounded = in_a_row <= REPEATS;
            self.rule(is_bounded, || format!("{change:?} repeats a build too often"));
        }
    }

    /// Checks whether an observed change has superseded the compilation. `is_unread`: the change is an edit of the
    /// manifest that was not read yet.
    pub(in super::super) fn considered_as(
        &mut self,
        (seen, began): (&Observation, Option<SystemTime>),
        is_unread: bool,
        supersedes: bool,
    ) {
        let is_older = seen.changed.zip(began).is_some_and(|(changed, began)| changed + CLOCK_GRAIN < began);
        let needless = supersedes && is_older && !is_unread;
        self.rule(!needless, || format!("{seen:?} supersedes a build that has read it"));
        let folder = seen.change.path.parent().unwrap_or(&seen.change.path);
        let before = self.superseded.get(folder).copied().unwrap_or_default();
        let is_edit = !is_older && seen.own == OwnWrites::None && before < EDITS;
        let missed = !supersedes && (is_edit || is_older && is_unread);
        self.rule(!missed, || format!("{seen:?} does not supersede the build"));
    }

    /// Resets the counts of consecutive builds that were superseded or repeated.
    pub(super) fn row_ends(&mut self) {
        self.superseded_in_a_row.clear();
        self.repeated_in_a_row = None;
    }

    /// Checks the work that the lifecycle requests for the build.
    pub(super) fn build_does(&mut self, work: &Work, commands: &BTreeMap<Ticket, Command>) {
        match work {
            Work::Consider(ticket) => {
                let compiles = self.builds.is_some_and(|builds| builds.at == At::Compiler);
                let is_due =
                    compiles && !self.has_task && matches!(commands[ticket], Command::Save | Command::Edit);
                self.rule(is_due, || format!("{ticket:?} is not a change that the build has to consider"));
                self.build_comes_to(At::Change);
            }
            Work::Include(ticket) => {
                let waits = self.builds.is_some_and(|builds| matches!(builds.at, At::Git | At::Pause));
                let is_due =
                    waits && !self.has_task && matches!(commands[ticket], Command::Save | Command::Edit);
                self.rule(is_due, || format!("{ticket:?} is not a change that the build includes"));
            }
            Work::ConsiderAgain => {
                let considers = self.builds.is_some_and(|builds| builds.considers);
                self.rule(considers, || {
                    "a change is to be observed again, but no change is being considered".into()
                });
                self.build_comes_to(At::Change);
            }
            Work::Examine { .. } => {
                let is_due = self.builds.is_some_and(|builds| builds.at == At::Compiler && !builds.begins);
                self.rule(is_due, || "a compilation that has not ended is examined".into());
                self.row_ends();
                self.build_comes_to(At::Examine);
            }
            Work::WaitForGit => {
                let begins = self.builds.as_mut().is_some_and(|builds| std::mem::take(&mut builds.begins));
                self.rule(begins, || "a build begins again, and nothing has superseded it".into());
                self.build_comes_to(At::Git);
            }
            Work::Compile { .. } => {
                let is_due = self.builds.is_some_and(|builds| builds.at == At::Git && !builds.begins);
                self.rule(is_due, || "the build compiles before git is quiet".into());
                self.compiles += 1;
                self.build_comes_to(At::Compiler);
            }
            Work::Pause => {
                let may_pause = self.takes_a_pause();
                self.rule(may_pause, || "the build is repeated too often, or needlessly".into());
                self.build_comes_to(At::Pause);
            }
            Work::EndBuild { .. } => {
                let ended = self.builds.map(|builds| builds.ended);
                let has_to_pause = self.takes_a_pause();
                self.rule(!has_to_pause, || format!("the build ends after a compilation: {ended:?}"));
                self.build_comes_to(At::End);
            }
            _ => {}
        }
    }

    pub(in super::super) fn builds(&mut self, aim: Aim) {
        self.row_ends();
        self.builds = Some(Builds {
            aim,
            retries: 2,
            waits: 100,
            ended: CompileEnd::Good,
            at: At::Git,
            begins: true,
            considers: false,
        });
    }

    /// Records how a compilation has ended.
    pub(in super::super) fn compilation_ended(&mut self, ended: CompileEnd) {
        if let Some(builds) = &mut self.builds {
            builds.ended = ended;
        }
    }

    /// Whether the build has to be repeated after a pause. Counts the pause.
    fn takes_a_pause(&mut self) -> bool {
        let Some(builds) = &mut self.builds else { return false };
        let left = match builds.ended {
            CompileEnd::Good | CompileEnd::Failed => return false,
            CompileEnd::Incomplete => &mut builds.waits,
            CompileEnd::MayPass => &mut builds.retries,
        };
        let has_to_pause = *left > 0;
        *left = left.saturating_sub(1);
        has_to_pause
    }

    fn build_comes_to(&mut self, at: At) {
        if let Some(builds) = &mut self.builds {
            builds.at = at;
        }
    }

    pub(in super::super) fn build_ends(&mut self, aim: Aim) {
        let builds = self.builds.take();
        let is_so = builds.is_some_and(|builds| builds.aim == aim && !builds.begins);
        self.rule(is_so, || format!("the build ends with the aim {aim:?}, but expected is {builds:?}"));
    }

    /// Checks that a command to stop that was received during a build has cancelled the build.
    pub(in super::super) fn is_attended(&mut self, ticket: Ticket) {
        let command = self.open.get(&ticket).copied();
        let builds = self.builds.is_some();
        let waits = matches!(command, Some(Command::Stop)) && builds;
        self.rule(!waits, || format!("the build continues after the command to stop {ticket:?}"));
    }
}
