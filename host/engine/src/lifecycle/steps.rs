//! The steps of one reload, of which one that does not come back has the reload given up.
//!
//! A reload that is between two steps is never given up, so that none is half done; one that is takes no further step.

use std::time::{Duration, Instant};

/// Which step a reload is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Steps<S> {
    #[default]
    Between,
    /// In this step, since then.
    Inside(S, Instant),
    /// It was given up in this step.
    GivenUp(S),
}

impl<S: Copy> Steps<S> {
    /// The reload is about to take a step.
    ///
    /// # Errors
    ///
    /// The step in which it was given up: it takes no other.
    pub(crate) fn begins(&mut self, now: Instant, step: S) -> Result<(), S> {
        self.check()?;
        *self = Self::Inside(step, now);
        Ok(())
    }

    /// The step has come back.
    pub(crate) fn ends(&mut self) {
        if let Self::Inside(..) = self {
            *self = Self::Between;
        }
    }

    /// Whether the reload continues. If it does, it is not given up before its next step.
    ///
    /// # Errors
    ///
    /// The step in which it was given up.
    pub(crate) fn check(&self) -> Result<(), S> {
        match *self {
            Self::GivenUp(step) => Err(step),
            Self::Between | Self::Inside(..) => Ok(()),
        }
    }

    /// How long it is at least until a step can have taken that long.
    pub(crate) fn left(&self, now: Instant, deadline: Duration) -> Duration {
        match *self {
            Self::Inside(_, since) => deadline.saturating_sub(now.duration_since(since)),
            Self::Between | Self::GivenUp(_) => deadline,
        }
    }

    /// Gives the reload up if it is inside a step that has taken that long.
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
