//! The queue of commands. One command is carried out at a time. A stop cancels a running build and the waiting commands
//! that the stop makes pointless.

use super::{By, Effect, Effects, Intent, Lifecycle, Work, build::Build, manifest::Configuring};
use std::collections::VecDeque;

/// The number of a command. The worker holds the command itself and the recipient of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// How a command relates to a stop and to a running build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CommandKind {
    /// A file has changed: the running build may be out of date.
    Change,
    /// A command from a user or client, who gets an answer. A stop makes the command pointless.
    Client,
    /// A report that stays valid when the plugin is stopped, such as a move of its folder. So a stop does not reject
    /// it.
    Notice,
    /// Stop the plugin.
    Stop,
}

/// The command that is being carried out, if any.
#[derive(Debug)]
pub(super) enum Activity {
    Idle,
    /// A command is being carried out.
    Command(Phase),
}

/// The work of a command.
#[derive(Debug)]
pub(super) enum Phase {
    /// A build, which can be cancelled.
    Build(Build),
    /// A new configuration. The build `within`, if any, continues after the configuration was applied.
    Configure { what: Configuring, within: Option<Build> },
    /// The plugin is being stopped.
    Stop {
        /// Whether the plugin's state is discarded.
        discards: bool,
        /// Whether the plugin ran until the stop, or was about to be restarted.
        was_up: bool,
    },
    /// Other work.
    Other,
}

impl Activity {
    /// Changes the phase of the command in progress.
    pub(super) fn comes_to(&mut self, what: Phase) {
        if let Self::Command(phase) = self {
            *phase = what;
        }
    }

    /// Begins to apply a configuration. A build in progress continues after that.
    pub(super) fn configure_begins(&mut self, what: Configuring) {
        let within = self.build();
        self.comes_to(Phase::Configure { what, within });
    }

    /// Ends the application of a configuration, and returns the configuration. `None` if no configuration is being
    /// applied.
    pub(super) fn configure_ends(&mut self) -> Option<Configuring> {
        let Self::Command(phase) = self else { return None };
        match std::mem::replace(phase, Phase::Other) {
            Phase::Configure { what, within } => {
                *phase = within.map_or(Phase::Other, Phase::Build);
                Some(what)
            }
            other => {
                *phase = other;
                None
            }
        }
    }

    /// Returns `discards` and `was_up` of the stop, or `None` if no stop is being carried out.
    pub(super) fn stop_ends(&mut self) -> Option<(bool, bool)> {
        let Self::Command(Phase::Stop { discards, was_up }) = *self else { return None };
        self.comes_to(Phase::Other);
        Some((discards, was_up))
    }

    /// The build that is in progress.
    pub(super) fn build(&self) -> Option<Build> {
        match self {
            Self::Command(Phase::Build(build)) => Some(*build),
            Self::Command(_) | Self::Idle => None,
        }
    }

    /// Whether a build is in progress, or continues after a new configuration.
    pub(super) fn builds(&self) -> bool {
        let Self::Command(phase) = self else { return false };
        matches!(phase, Phase::Build(_) | Phase::Configure { within: Some(_), .. })
    }

    /// Whether other work may begin now. It may if no command is being carried out, or if the command is a build that
    /// may be interrupted.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Idle => true,
            Self::Command(Phase::Build(build)) => build.is_open(),
            Self::Command(Phase::Configure { .. } | Phase::Stop { .. } | Phase::Other) => false,
        }
    }

    /// The origin of the configuration that is being applied to the plugin. `None` if no configuration is being
    /// applied.
    pub(super) fn configures(&self) -> Option<By> {
        match self {
            Self::Command(Phase::Configure { what, .. }) => Some(what.by()),
            Self::Command(Phase::Build(_) | Phase::Stop { .. } | Phase::Other) | Self::Idle => None,
        }
    }
}

/// The waiting commands, the oldest first.
pub(super) type Waiting = VecDeque<(Ticket, CommandKind)>;

impl Lifecycle {
    /// Begins a waiting command, if the running work allows it.
    pub(super) fn take_waiting(&mut self) -> Effects {
        match self.activity {
            _ if self.task.is_some() => Effects::default(),
            Activity::Idle => Effects::default().and_then(self.next()),
            Activity::Command(Phase::Build(build)) if build.is_open() => self.disturb(build),
            Activity::Command(_) => Effects::default(),
        }
    }

    /// Handles a waiting command during a build: a stop cancels the build, and a change may supersede the compilation.
    fn disturb(&mut self, mut build: Build) -> Effects {
        if self.is_overtaken() {
            // No waiting command may start the plugin again before the stop.
            self.rests();
            let is_pointless = |kind| matches!(kind, CommandKind::Change | CommandKind::Client);
            let (pointless, kept): (Waiting, Waiting) =
                self.waiting.drain(..).partition(|(_, kind)| is_pointless(*kind));
            self.waiting = kept;
            self.build_ends();
            let refused = pointless.into_iter().map(|(ticket, _)| Effect::Refuse(ticket));
            return Effects::of(refused).and_then(Some(Work::CancelBuild));
        }
        let change = self.waiting.iter().position(|(_, kind)| *kind == CommandKind::Change);
        let Some((ticket, _)) = change.and_then(|at| self.waiting.remove(at)) else {
            return Effects::default();
        };
        let work = if build.is_to_consider() { Work::Consider(ticket) } else { Work::Include(ticket) };
        self.activity.comes_to(Phase::Build(build));
        Effects::work(work)
    }

    /// Whether a stop is among the waiting commands.
    pub(super) fn is_overtaken(&self) -> bool {
        self.waiting.iter().any(|(_, kind)| *kind == CommandKind::Stop)
    }

    /// Begins the oldest waiting command.
    fn next(&mut self) -> Option<Work> {
        let (ticket, kind) = self.waiting.pop_front()?;
        if kind == CommandKind::Stop {
            self.rests();
        }
        self.activity = Activity::Command(Phase::Other);
        Some(Work::CarryOut(ticket))
    }

    /// Records that the plugin should not run, and cancels a pending restart.
    fn rests(&mut self) {
        self.intent = Intent::Rest;
        self.service.without_restart();
    }
}
