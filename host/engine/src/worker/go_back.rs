//! Going back: by order, or because a new generation does badly in its confirm window.

use super::{Worker, serve::Cause};
use crate::{
    error::HostError,
    event::{EventKind, Stages},
    id::{Digest, Generation},
    lifecycle::Input,
    manifest::OwnErrors,
    registry::Calls,
    reload::Source,
};

impl Worker {
    /// Counts the calls of the generation that serves, and those that failed as its manifest sees it.
    pub(super) fn count_calls(&self) -> Input {
        let (Some(live), Some(spec)) = (self.shared.entry.live(), &self.manifest().reload.confirm) else {
            // Its death is about to be heard of, or it is not watched any more.
            return Input::Calls { total: 0, failed: 0, earlier: None };
        };
        let Calls { calls: total, failures } = live.calls();
        let failed = match spec.errors {
            OwnErrors::Ignored => failures.faults(),
            OwnErrors::Counted => failures.total(),
        };
        Input::Calls { total, failed, earlier: self.earlier_than(live.digest) }
    }

    /// Tells that a new version has proved to be bad, which its source goes on being.
    pub(super) fn taken_back(&mut self, from: Generation, reason: &str, fault: &str) {
        self.record.change(|record| record.went_back_because(fault));
        self.tell(EventKind::RolledBack { from, reason: reason.into() });
    }

    /// Goes back to that artifact or to the one before, and says from which generation to which.
    pub(super) async fn rollback(
        &mut self,
        to: Option<Digest>,
    ) -> Result<(Generation, Generation), HostError> {
        self.do_now(Input::Unwatched);
        // It may have crashed, and be worth going back from all the more.
        let Some(current) = self.lifecycle.last() else { return Err(self.stopping()) };
        let Some(digest) = to.or_else(|| self.earlier_than(current.digest)) else {
            return Err(HostError::NoEarlierVersion { plugin: self.id().clone() });
        };
        let earlier = (Source::Stored(digest), self.manifest());
        let generation = self.install(earlier, Cause::go_back(), Stages::default()).await?;
        Ok((current.generation, generation))
    }

    /// What served before this artifact first did, so that going back twice does not go forward.
    pub(super) fn earlier_than(&self, digest: Digest) -> Option<Digest> {
        let served = &self.shared.progress.lock().served;
        let at = served.iter().position(|(_, it)| *it == digest).unwrap_or(served.len());
        at.checked_sub(1).map(|before| served[before].1)
    }
}
