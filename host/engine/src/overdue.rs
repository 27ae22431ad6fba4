//! Lifecycle steps in this process that do not return. Nothing can interrupt such a step, so the host stops waiting for
//! it.
//!
//! A reload runs on its own thread, and records in [`Steps`] which step it runs. The worker abandons the reload when a
//! step has taken too long. The thread stays in the step. If the step returns later, the thread runs no further step
//! and cleans up. A reload is abandoned only inside a step, never between two steps.

use crate::{error::ReloadCause, event::Stage, lifecycle, step::Step};
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// The steps of one reload.
#[derive(Debug, Default)]
pub(crate) struct Steps(Mutex<lifecycle::StepState<Overdue>>);

/// A step that possibly never returns, with the text of the error message for that case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// The stage to which the step belongs.
    pub(crate) stage: Stage,
    /// The step.
    pub(crate) step: Step,
    /// What follows from the abandoned step, as the end of the error message.
    pub(crate) rest: &'static str,
}

impl Overdue {
    /// A step of an instance that does not serve.
    pub(crate) const fn fresh(stage: Stage, step: Step) -> Self {
        Self { stage, step, rest: "the new instance is abandoned" }
    }

    /// Whether the step saves the state of the serving generation, which must not change until the step returns.
    pub(crate) fn holds_the_state(self) -> bool {
        self.step == Step::Save && self.stage == Stage::Migrate
    }

    /// The error for a step that has not returned within this time.
    pub(crate) fn after(self, deadline: Duration) -> ReloadCause {
        let Self { step, rest, .. } = self;
        ReloadCause::Overdue { step, deadline, rest }
    }
}

impl Steps {
    /// Runs a step on the calling thread.
    ///
    /// # Errors
    ///
    /// * [`ReloadCause::Overdue`] if the reload was abandoned. In this case, the step does not run.
    /// * The error of the step.
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

    /// Checks that the reload was not abandoned. After a successful check, the reload cannot be abandoned before its
    /// next step.
    ///
    /// # Errors
    ///
    /// * [`ReloadCause::Overdue`] if the reload was abandoned.
    pub(crate) fn check(&self) -> Result<(), ReloadCause> {
        self.0.lock().check().map_err(|step| step.after(Duration::ZERO))
    }

    /// Abandons the reload if its step has taken longer than `deadline`. Returns that step.
    fn give_up(&self, deadline: Duration) -> Option<Overdue> {
        self.0.lock().give_up(Instant::now(), deadline)
    }

    /// Waits until a step has taken longer than `deadline`, and abandons the reload then. Never returns if no step
    /// takes too long.
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

    const INIT: Overdue = Overdue::fresh(Stage::Load, Step::Init);

    #[tokio::test]
    async fn a_reload_abandoned_inside_a_step_runs_no_further_step() {
        let steps = Steps::default();
        let done: Result<(), _> = steps.take(INIT, || {
            assert_eq!(steps.give_up(Duration::from_secs(600)), None, "not yet");
            assert_eq!(steps.give_up(Duration::ZERO), Some(INIT));
            Ok::<_, ReloadCause>(())
        });
        assert!(done.is_ok(), "the step has returned");
        assert!(steps.check().is_err());
        let next = steps.take(Overdue::fresh(Stage::Load, Step::Start), || Ok::<_, ReloadCause>(()));
        assert!(next.unwrap_err().to_string().contains("`init` did not end"));
    }

    #[test]
    fn a_reload_between_two_steps_is_not_abandoned() {
        let steps = Steps::default();
        steps.take(INIT, || Ok::<_, ReloadCause>(())).unwrap();
        assert_eq!(steps.give_up(Duration::ZERO), None);
        assert!(steps.check().is_ok());
    }
}
