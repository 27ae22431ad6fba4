//! Going back: by order, or because a new generation does badly in its confirm window.

use super::{Worker, cause::Cause};
use crate::{
    error::HostError,
    event::{EventKind, Stages},
    id::{Digest, Generation},
    lifecycle::{Input, Rollback, Version, Work},
    manifest::OwnErrors,
    registry::Calls,
    reload::Source,
};

impl Worker {
    /// Counts the calls of the generation that serves, and those that failed as its manifest sees it.
    pub(super) fn count_calls(&self) -> Input {
        let (Some(live), Some(spec)) = (self.shared.entry.live(), &self.manifest().reload.confirm) else {
            // Its death is about to be received, or it is no longer watched.
            return Input::Calls { total: 0, failed: 0 };
        };
        let Calls { calls: total, failures } = live.calls();
        let failed = match spec.errors {
            OwnErrors::Ignored => failures.faults(),
            OwnErrors::Counted => failures.total(),
        };
        Input::Calls { total, failed }
    }

    /// Reports that a new version has proved to be bad. Its source stays bad.
    pub(super) fn taken_back(&mut self, from: Version, reason: &str, fault: &str) {
        self.record.change(|record| record.takes_back(from.digest, fault));
        self.emit(EventKind::RolledBack { from: from.generation, reason: reason.into() });
    }

    /// Goes back to that artifact or to the one before. Returns from which generation to which.
    pub(super) async fn rollback(
        &mut self,
        to: Option<Digest>,
    ) -> Result<(Generation, Generation), HostError> {
        let (from, digest) = match self.step(Input::RollBack(to)) {
            Some(Work::RollBack(Rollback::To { from, digest })) => (from, digest),
            Some(Work::RollBack(Rollback::NothingEarlier)) => {
                return Err(HostError::NoEarlierVersion { plugin: self.id().clone() });
            }
            _ => return Err(self.stopping()),
        };
        let earlier = (Source::Stored(digest), self.manifest());
        let generation = self.install(earlier, Cause::go_back(), Stages::default()).await?;
        Ok((from, generation))
    }
}
