//! The steps of one reload. If a step does not return in time, the reload is given up.
//!
//! A reload is never given up between two steps, so no step is half done. A reload that was given up takes no further
//! step.

use std::time::{Duration, Instant};

/// The step that a reload is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Steps<S> {
    #[default]
    Between,
    /// The reload is in this step, since that time.
    Inside(S, Instant),
    /// The reload was given up in this step.
    GivenUp(S),
}

impl<S: Copy> Steps<S> {
    /// The reload is about to take a step.
    ///
    /// # Errors
    ///
    /// The step in which the reload was given up. No other step begins then.
    pub(crate) fn begins(&mut self, now: Instant, step: S) -> Result<(), S> {
        self.check()?;
        *self = Self::Inside(step, now);
        Ok(())
    }

    /// The step has returned.
    pub(crate) fn ends(&mut self) {
        if let Self::Inside(..) = self {
            *self = Self::Between;
        }
    }

    /// Checks that the reload continues. If it does, it is not given up before its next step.
    ///
    /// # Errors
    ///
    /// The step in which the reload was given up.
    pub(crate) fn check(&self) -> Result<(), S> {
        match *self {
            Self::GivenUp(step) => Err(step),
            Self::Between | Self::Inside(..) => Ok(()),
        }
    }

    /// The shortest time until a step can have exceeded the deadline.
    pub(crate) fn left(&self, now: Instant, deadline: Duration) -> Duration {
        match *self {
            Self::Inside(_, since) => deadline.saturating_sub(now.duration_since(since)),
            Self::Between | Self::GivenUp(_) => deadline,
        }
    }

    /// Gives up the reload if its current step has exceeded the deadline. Returns that step.
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
