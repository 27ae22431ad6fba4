//! Rollbacks, by command or because too many calls of a new generation fail while `confirm` watches it.

use super::{Worker, cause::Cause};
use crate::{
    error::HostError,
    event::{EventKind, Stages},
    id::{Digest, Generation},
    job::Source,
    lifecycle::{Input, Rollback, VersionId, Work},
    manifest::OwnErrors,
    registry::Calls,
};

impl Worker {
    /// Counts the calls of the serving generation, and the failed ones. The manifest says whether an error that the
    /// plugin returns counts as a failure.
    pub(super) fn count_calls(&self) -> Input {
        let (Some(live), Some(spec)) = (self.shared.entry.live(), &self.manifest().reload.confirm) else {
            // The generation has died, and the worker has not received its death yet; or the manifest no longer has the key
            // `confirm`.
            return Input::Calls { total: 0, failed: 0 };
        };
        let Calls { calls: total, failures } = live.calls();
        let failed = match spec.errors {
            OwnErrors::Ignored => failures.faults(),
            OwnErrors::Counted => failures.total(),
        };
        Input::Calls { total, failed }
    }

    /// Records and reports that the plugin was rolled back from a version. The source of that version counts as faulty
    /// until it is edited.
    pub(super) fn taken_back(&mut self, from: VersionId, reason: &str, fault: &str) {
        self.record.change(|record| record.takes_back(from.digest, fault));
        self.emit(EventKind::RolledBack { from: from.generation, reason: reason.into() });
    }

    /// Rolls the plugin back to the artifact `to`, or to the previous version if `to` is `None`. Returns the generation
    /// before the rollback and the generation after it.
    pub(super) async fn rollback(
        &mut self,
        to: Option<Digest>,
    ) -> Result<(Generation, Generation), HostError> {
        let (from, digest) = match self.step(Input::RollBack(to)) {
            Some(Work::RollBack(Rollback::To { from, digest })) => (from, digest),
            Some(Work::RollBack(Rollback::NothingEarlier)) => {
                return Err(HostError::NoEarlierVersion { plugin: self.id().clone() });
            }
            _ => return Err(self.not_running()),
        };
        let earlier = (Source::Stored(digest), self.manifest());
        let generation = self.install(earlier, Cause::go_back(), Stages::default()).await?;
        Ok((from, generation))
    }
}
