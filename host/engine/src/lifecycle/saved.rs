//! The state that was saved last: whether the next version begins with it, and whether a stop keeps it.

use super::{BeginsWith, Effect, Effects, Lifecycle, Phase, Policy, StopWhy, Work, service::Service};

/// The kind of the state that was saved last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// A checkpoint, if any. It is discarded if a version rejects it.
    Checkpoint,
    /// A state that was saved at a stop. It is kept until a version begins with it or a user discards it.
    AtStop,
}

/// How the generation that served has ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// No generation served.
    NothingServed,
    /// The generation has no state.
    Stateless,
    /// The generation has saved its state, which replaces the previously saved state.
    Saved,
    /// The state of the generation was not saved, for this reason.
    NotSaved(String),
}

impl Saved {
    /// The saved state with which the next version begins.
    pub(super) fn to_begin_with(self, policy: &Policy) -> BeginsWith {
        match self {
            Self::AtStop => BeginsWith::Kept,
            Self::Checkpoint if policy.checkpoint.is_some() => BeginsWith::Checkpoint,
            Self::Checkpoint => BeginsWith::Nothing,
        }
    }
}

impl Lifecycle {
    /// Begins a stop of the plugin by a command.
    pub(super) fn stop(&mut self, why: StopWhy) -> Effects {
        let discards = why == StopWhy::Discarded;
        // A plugin whose process has ended counts as running, because it was about to be restarted.
        let was_up = !matches!(self.service, Service::Stopped | Service::GivenUp { .. });
        self.activity.comes_to(Phase::Stop { discards, was_up });
        self.service = Service::Stopped;
        self.failures = Default::default();
        self.faults = Default::default();
        self.wants_after(why).and_then(Some(Work::EndService { saves: !discards, report: was_up }))
    }

    /// The generation that served has ended. `checkpoint`: a checkpoint existed before.
    pub(super) fn ended(&mut self, ending: Ending, checkpoint: bool) -> Effects {
        let Some((discards, was_up)) = self.activity.stop_ends() else { return Effects::default() };
        let is_kept = match &ending {
            _ if discards => false,
            Ending::NothingServed if !was_up => return Effects::default(),
            Ending::NothingServed | Ending::NotSaved(_) => checkpoint,
            Ending::Stateless => false,
            Ending::Saved => true,
        };
        self.saved = if is_kept { Saved::AtStop } else { Saved::Checkpoint };
        let effect = match ending {
            _ if discards => Some(Effect::DiscardState),
            Ending::Stateless => Some(Effect::ForgetState),
            Ending::Saved => Some(Effect::KeepState),
            Ending::NothingServed | Ending::NotSaved(_) => is_kept.then_some(Effect::NoteState),
        };
        let report = match ending {
            Ending::NotSaved(error) if !discards => {
                let rest = if checkpoint { "with its last checkpoint" } else { "without it" };
                let reason = format!("its state was not saved: {error}; the next start begins {rest}");
                Some(Effect::ReportStateLost(reason))
            }
            _ => None,
        };
        Effects::of(effect.into_iter().chain(report))
    }
}
