//! Going back: by order, or because a new generation does badly in its confirm window.

use super::{Worker, serve::Cause};
use crate::{
    error::{HostError, ReloadCause},
    event::{EventKind, Stage, Stages},
    id::{Digest, Generation},
    manifest::OwnErrors,
    record::Record,
    registry::{Calls, Live},
    reload::Source,
};
use std::sync::Arc;
use tokio::time::Instant;

/// A new generation that is watched before it is trusted.
pub(super) struct Confirm {
    live: Arc<Live>,
    until: Instant,
}

impl Confirm {
    pub(super) fn new(live: Arc<Live>, until: Instant) -> Self {
        Self { live, until }
    }

    pub(super) fn is_of(&self, generation: Generation) -> bool {
        self.live.generation == generation
    }

    /// When the window ends.
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Worker {
    /// Looks at a generation that is to be confirmed, and goes back if it does badly.
    pub(super) async fn judge(&mut self) {
        let manifest = self.manifest();
        let (Some(confirm), Some(spec)) = (&self.confirm, &manifest.reload.confirm) else {
            self.confirm = None;
            return;
        };
        let Calls { calls, failures } = confirm.live.calls();
        let failures = match spec.errors {
            OwnErrors::Ignored => failures.faults(),
            OwnErrors::Counted => failures.total(),
        };
        let rate = failures as f64 / calls.max(1) as f64;
        if calls >= spec.min_calls && rate > spec.max_error_rate {
            self.confirm = None;
            let why = format!(
                "{failures} of its {calls} calls failed, more than the {} that `confirm` allows",
                spec.max_error_rate
            );
            match self.rollback(None).await {
                Ok((from, _)) => self.taken_back(from, &why),
                // One that fails in a later stage has told so itself.
                Err(HostError::NoEarlierVersion { .. }) => {
                    let error = self.error(Stage::Confirm, ReloadCause::NothingEarlier);
                    self.failed(error);
                }
                Err(_) => {}
            }
        } else if Instant::now() >= confirm.until {
            self.confirm = None;
            self.record.change(Record::is_good);
        }
    }

    /// Tells that a new version has proved to be bad, which its source goes on being.
    pub(super) fn taken_back(&mut self, from: Generation, reason: &str) {
        let error = format!("{}: {from} was taken back: {reason}", self.id());
        self.record.change(|record| record.went_back_because(&error));
        self.desk.progress.lock().source_error = Some(error);
        self.tell(EventKind::RolledBack { from, reason: reason.into() });
    }

    /// Goes back to that artifact or to the one before, and says from which generation to which.
    pub(super) async fn rollback(
        &mut self,
        to: Option<Digest>,
    ) -> Result<(Generation, Generation), HostError> {
        self.confirm = None;
        // It may have crashed, and be worth going back from all the more.
        let Some(current) = self.supervision.last() else { return Err(self.stopping()) };
        let Some(digest) = to.or_else(|| self.earlier_than(current.1)) else {
            return Err(HostError::NoEarlierVersion { plugin: self.id().clone() });
        };
        let earlier = (Source::Stored(digest), self.manifest());
        let generation = self.install(earlier, Cause::order(), Stages::default()).await?;
        Ok((current.0, generation))
    }

    /// What served before this artifact first did, so that going back twice does not go forward.
    pub(super) fn earlier_than(&self, digest: Digest) -> Option<Digest> {
        let served = &self.desk.progress.lock().served;
        let at = served.iter().position(|(_, it)| *it == digest).unwrap_or(served.len());
        at.checked_sub(1).map(|before| served[before].1)
    }
}
