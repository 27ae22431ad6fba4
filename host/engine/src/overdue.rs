//! Steps of a plugin's life in this process that do not come back: nothing can end them, so they are no longer waited for.
//!
//! A reload runs on a thread of its own, and says here which step it is in. The worker looks, and gives the reload up
//! when a step has taken too long. The thread stays where it is; should it come back, it finds no next step to take and
//! clears away what it has made. A reload that is between two steps is never given up, so that none is half done.

use crate::{error::ReloadCause, event::Stage, lifecycle};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// The steps of one reload.
#[derive(Debug, Default)]
pub(crate) struct Steps(Mutex<lifecycle::Steps<Overdue>>);

/// What is said of a step that does not come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// Of which stage it is a part.
    pub(crate) stage: Stage,
    /// The step.
    pub(crate) step: &'static str,
    /// What becomes of the rest.
    pub(crate) rest: &'static str,
}

impl Overdue {
    /// Of an instance that does not serve.
    pub(crate) const fn fresh(stage: Stage, step: &'static str) -> Self {
        Self { stage, step, rest: "the new instance is left to itself" }
    }

    /// Whether it is in the middle of the state of the generation that serves, which must not change meanwhile.
    pub(crate) fn holds_the_state(self) -> bool {
        self.step == "save" && self.stage == Stage::Migrate
    }

    /// As an error.
    pub(crate) fn after(self, deadline: Duration) -> ReloadCause {
        let Self { step, rest, .. } = self;
        ReloadCause::Overdue { step, deadline, rest }
    }
}

impl Steps {
    /// Takes a step on the calling thread.
    ///
    /// # Errors
    ///
    /// * [`ReloadCause::Overdue`] if the reload has been given up: the step is not taken.
    /// * What the step says.
    pub(crate) fn take<T, E: Into<ReloadCause>>(
        &self,
        step: Overdue,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, ReloadCause> {
        let given_up = |step: Overdue| step.after(Duration::ZERO);
        self.0.lock().begins(Instant::now(), step).map_err(given_up)?;
        let done = run();
        self.0.lock().ends();
        done.map_err(Into::into)
    }

    /// Makes sure that the reload has not been given up. If it has not, it will not be before its next step.
    ///
    /// # Errors
    ///
    /// * [`ReloadCause::Overdue`] if it has.
    pub(crate) fn check(&self) -> Result<(), ReloadCause> {
        self.0.lock().check().map_err(|step| step.after(Duration::ZERO))
    }

    fn give_up(&self, deadline: Duration) -> Option<Overdue> {
        self.0.lock().give_up(Instant::now(), deadline)
    }

    /// Waits for a step that takes longer than `deadline`; for ever if none does. The reload is given up then.
    pub(crate) async fn overdue(&self, deadline: Duration) -> Overdue {
        loop {
            let left = self.0.lock().left(Instant::now(), deadline);
            tokio::time::sleep(left).await;
            if let Some(step) = self.give_up(deadline) {
                return step;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INIT: Overdue = Overdue::fresh(Stage::Load, "init");

    #[tokio::test]
    async fn a_reload_that_is_given_up_inside_a_step_takes_no_other() {
        let steps = Steps::default();
        let done: Result<(), _> = steps.take(INIT, || {
            assert_eq!(steps.give_up(Duration::from_secs(600)), None, "not yet");
            assert_eq!(steps.give_up(Duration::ZERO), Some(INIT));
            Ok::<_, ReloadCause>(())
        });
        assert!(done.is_ok(), "it came back in the end");
        assert!(steps.check().is_err());
        let next = steps.take(Overdue::fresh(Stage::Load, "start"), || Ok::<_, ReloadCause>(()));
        assert!(next.unwrap_err().to_string().contains("`init` did not end"));
    }

    #[test]
    fn a_reload_between_two_steps_is_not_given_up() {
        let steps = Steps::default();
        steps.take(INIT, || Ok::<_, ReloadCause>(())).unwrap();
        assert_eq!(steps.give_up(Duration::ZERO), None);
        assert!(steps.check().is_ok());
    }
}
