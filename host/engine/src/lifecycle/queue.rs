//! The orders: one is carried out at a time, the others wait. A stop overtakes those that wait and the build that runs.

use super::{By, Effect, Effects, Intent, Lifecycle, Work, build::Build, manifest::Configuring};
use std::collections::VecDeque;

/// The number of an order. The worker knows what it is, and who is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// What an order means for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A file has changed: what is built may be out of date.
    Change,
    /// Someone wants something of the plugin, and is answered. A stop makes it pointless.
    Command,
    /// What is so whether the plugin is stopped or not.
    Notice,
    /// Stop the plugin.
    Stop,
}

/// What is done with the plugin by order.
#[derive(Debug)]
pub(super) enum Activity {
    Idle,
    /// An order is carried out.
    Order(Phase),
}

/// What an order has come to.
#[derive(Debug)]
pub(super) enum Phase {
    /// A build, which can be cancelled.
    Build(Build),
    /// A new configuration, maybe of what serves while this build waits.
    Configure { what: Configuring, within: Option<Build> },
    /// The plugin is stopped.
    Stop {
        /// Whether its state is discarded.
        discards: bool,
        /// Whether it ran until then, or was about to.
        was_up: bool,
    },
    /// Something else.
    Other,
}

impl Activity {
    pub(super) fn comes_to(&mut self, what: Phase) {
        if let Self::Order(phase) = self {
            *phase = what;
        }
    }

    pub(super) fn configure_begins(&mut self, what: Configuring) {
        let within = self.build();
        self.comes_to(Phase::Configure { what, within });
    }

    pub(super) fn configure_ends(&mut self) -> Option<Configuring> {
        let Self::Order(phase) = self else { return None };
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

    /// Returns whether the state is discarded, and whether the plugin ran until the stop.
    pub(super) fn stop_ends(&mut self) -> Option<(bool, bool)> {
        let Self::Order(Phase::Stop { discards, was_up }) = *self else { return None };
        self.comes_to(Phase::Other);
        Some((discards, was_up))
    }

    /// The build that is under way.
    pub(super) fn build(&self) -> Option<Build> {
        match self {
            Self::Order(Phase::Build(build)) => Some(*build),
            Self::Order(_) | Self::Idle => None,
        }
    }

    /// Whether a build is under way, maybe one that waits for a new configuration.
    pub(super) fn builds(&self) -> bool {
        let Self::Order(phase) = self else { return false };
        matches!(phase, Phase::Build(_) | Phase::Configure { within: Some(_), .. })
    }

    /// Whether something is done that can be disturbed, or nothing.
    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Idle => true,
            Self::Order(Phase::Build(build)) => build.is_open(),
            Self::Order(Phase::Configure { .. } | Phase::Stop { .. } | Phase::Other) => false,
        }
    }

    /// By whom the plugin is being configured, while it is.
    pub(super) fn configures(&self) -> Option<By> {
        match self {
            Self::Order(Phase::Configure { what, .. }) => Some(what.by()),
            Self::Order(Phase::Build(_) | Phase::Stop { .. } | Phase::Other) | Self::Idle => None,
        }
    }
}

/// The orders that wait, the oldest first.
pub(super) type Waiting = VecDeque<(Ticket, Request)>;

impl Lifecycle {
    /// Goes on with the orders that wait, where nothing keeps them waiting.
    pub(super) fn attend(&mut self) -> Effects {
        match self.activity {
            _ if self.task.is_some() => Effects::default(),
            Activity::Idle => Effects::default().and_then(self.next()),
            Activity::Order(Phase::Build(build)) if build.is_open() => self.disturb(build),
            Activity::Order(_) => Effects::default(),
        }
    }

    /// A build runs: a stop ends it, and a change may.
    fn disturb(&mut self, mut build: Build) -> Effects {
        if self.is_overtaken() {
            // Nothing that waits brings it up once more.
            self.rests();
            let is_pointless = |request| matches!(request, Request::Change | Request::Command);
            let (pointless, kept): (Waiting, Waiting) =
                self.waiting.drain(..).partition(|(_, request)| is_pointless(*request));
            self.waiting = kept;
            self.build_ends();
            let refused = pointless.into_iter().map(|(ticket, _)| Effect::Refuse(ticket));
            return Effects::of(refused).and_then(Some(Work::CancelBuild));
        }
        let change = self.waiting.iter().position(|(_, request)| *request == Request::Change);
        let Some((ticket, _)) = change.and_then(|at| self.waiting.remove(at)) else {
            return Effects::default();
        };
        let work = if build.is_to_consider() { Work::Consider(ticket) } else { Work::Include(ticket) };
        self.activity.comes_to(Phase::Build(build));
        Effects::work(work)
    }

    /// Whether a stop waits.
    pub(super) fn is_overtaken(&self) -> bool {
        self.waiting.iter().any(|(_, request)| *request == Request::Stop)
    }

    /// Begins with the oldest order that waits.
    fn next(&mut self) -> Option<Work> {
        let (ticket, request) = self.waiting.pop_front()?;
        if request == Request::Stop {
            self.rests();
        }
        self.activity = Activity::Order(Phase::Other);
        Some(Work::CarryOut(ticket))
    }

    /// From now on nothing brings the plugin up but someone who wants it.
    fn rests(&mut self) {
        self.intent = Intent::Rest;
        self.service.without_restart();
    }
}
