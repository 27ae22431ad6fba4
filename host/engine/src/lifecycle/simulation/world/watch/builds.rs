//! The rules of builds.

use super::{super::Command, Watch};
use crate::lifecycle::{Aim, Compiled, Input, Ticket, Work};
use std::collections::BTreeMap;

/// The expected state of a build.
#[derive(Clone, Copy, Debug)]
pub(super) struct Builds {
    pub(super) aim: Aim,
    /// How many times the build may still pause after a failure.
    retries: u32,
    /// How many times the build may still pause for a library that is being copied.
    waits: u32,
    /// Whether the last compilation has ended because a library is being copied.
    incomplete: bool,
    /// The stage of the build.
    pub(super) at: At,
    /// Whether the last compilation was superseded.
    pub(super) is_superseded: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum At {
    Git,
    Compiler,
    Change,
    Pause,
    End,
}

impl Work {
    pub(super) fn is_of_a_build(&self) -> bool {
        matches!(
            self,
            Self::WaitForGit
                | Self::Compile
                | Self::Pause
                | Self::Consider(_)
                | Self::Include(_)
                | Self::EndBuild { .. }
        )
    }
}

impl Watch {
    /// Records an input that concerns the build.
    pub(super) fn build_takes(&mut self, input: &Input) {
        match input {
            Input::Considered { supersedes } => {
                self.build_comes_to(At::Compiler);
                if let (Some(builds), true) = (&mut self.builds, *supersedes) {
                    builds.is_superseded = true;
                    builds.aim = if builds.aim == Aim::Renew { Aim::Renew } else { Aim::Update };
                }
            }
            Input::Compiled(Compiled::Stale) | Input::PauseOver => {
                if let Some(builds) = &mut self.builds {
                    builds.is_superseded = true;
                }
            }
            _ => {}
        }
        if let (Some(builds), Input::Compiled(compiled)) = (&mut self.builds, input) {
            builds.incomplete = *compiled == Compiled::Incomplete;
        }
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
            Work::WaitForGit => self.build_comes_to(At::Git),
            Work::Compile => {
                let is_due = self.builds.is_some_and(|builds| builds.at == At::Git && !builds.is_superseded);
                self.rule(is_due, || "the build compiles before git is quiet".into());
                self.build_comes_to(At::Compiler);
            }
            Work::Pause => {
                if let Some(builds) = &mut self.builds {
                    let left = if builds.incomplete { &mut builds.waits } else { &mut builds.retries };
                    let may_pause = *left > 0;
                    *left = left.saturating_sub(1);
                    self.rule(may_pause, || "the build is repeated too often".into());
                }
                self.build_comes_to(At::Pause);
            }
            Work::EndBuild { .. } => self.build_comes_to(At::End),
            _ => {}
        }
    }

    pub(in super::super) fn builds(&mut self, aim: Aim) {
        self.builds = Some(Builds {
            aim,
            retries: 2,
            waits: 100,
            incomplete: false,
            at: At::Git,
            is_superseded: false,
        });
    }

    fn build_comes_to(&mut self, at: At) {
        if let Some(builds) = &mut self.builds {
            builds.at = at;
        }
    }

    pub(in super::super) fn build_ends(&mut self, aim: Aim) {
        let builds = self.builds.take();
        let is_so = builds.is_some_and(|builds| builds.aim == aim && !builds.is_superseded);
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
