//! The steps of one reload. If a step does not return before its deadline, the reload is abandoned.
//!
//! A reload is abandoned only inside a step, never between two steps. An abandoned reload takes no further step.

use std::time::{Duration, Instant};

/// The progress of a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum StepState<S> {
    #[default]
    Between,
    /// The reload has been in this step since this time.
    Inside(S, Instant),
    /// The reload was abandoned in this step.
    GivenUp(S),
}

impl<S: Copy> StepState<S> {
    /// Begins a step.
    ///
    /// # Errors
    ///
    /// The step in which the reload was abandoned. In this case, the new step does not begin.
    pub(crate) fn begins(&mut self, now: Instant, step: S) -> Result<(), S> {
        self.check()?;
        *self = Self::Inside(step, now);
        Ok(())
    }

    /// Ends the current step.
    pub(crate) fn ends(&mut self) {
        if let Self::Inside(..) = self {
            *self = Self::Between;
        }
    }

    /// Checks that the reload was not abandoned.
    ///
    /// # Errors
    ///
    /// The step in which the reload was abandoned.
    pub(crate) fn check(&self) -> Result<(), S> {
        match *self {
            Self::GivenUp(step) => Err(step),
            Self::Between | Self::Inside(..) => Ok(()),
        }
    }

    /// The shortest time until a step can exceed the deadline.
    pub(crate) fn left(&self, now: Instant, deadline: Duration) -> Duration {
        match *self {
            Self::Inside(_, since) => deadline.saturating_sub(now.duration_since(since)),
            Self::Between | Self::GivenUp(_) => deadline,
        }
    }

    /// Abandons the reload if its current step has exceeded the deadline. Returns that step.
    pub(crate) fn give_up(&mut self, now: Instant, deadline: Duration) -> Option<S> {
        match *self {
            Self::Inside(step, since) if now.duration_since(since) >= deadline => {
                *self = Self::GivenUp(step);
                Some(step)
            }
            _ => None,
        }
    }
}
