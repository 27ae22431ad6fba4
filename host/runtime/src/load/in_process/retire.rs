//! Retires an instance that runs on the threads of its callers: stops and drops it. Its library stays mapped, because these
//! threads may run its thread-local destructors when they exit.

use super::{instance::Instance, unload::Gone};
use crate::{
    load::warn,
    registry::{
        ColumnLease,
        body::{Body as _, Retire},
        clear_away,
    },
};
use replug_model::{event::RetireOutcome, step::Step};
use std::thread;

impl Instance {
    /// See [`Body::retire`](crate::registry::body::Body::retire).
    pub(super) fn retire_from(self, how: Retire<'_>) -> RetireOutcome {
        let Retire { lease, loaded_file_bytes, .. } = how;
        clear_away(self.path(), loaded_file_bytes);
        // The last steps run on a thread of their own, which is joined: values that the author's code leaves in
        // thread-local storage are dropped when that thread exits.
        let ended = thread::scope(|scope| {
            scope
                .spawn(|| {
                    let marked = lease.mark(Step::Stop);
                    warn(self.stop());
                    drop(marked);
                    self.drop_marked(lease)
                })
                .join()
        });
        ended.map_or(RetireOutcome::DropPanicked, |(_, outcome)| outcome)
    }

    /// Drops the author's value. Meanwhile, the thread has a mark in the crash record. The library stays mapped.
    pub(super) fn drop_marked(self, lease: &ColumnLease) -> (Gone, RetireOutcome) {
        let _marked = lease.mark(Step::Drop);
        let (gone, outcome) = self.destroy();
        match outcome {
            Ok(()) => (gone, RetireOutcome::Kept),
            Err(error) => {
                tracing::warn!("{error}");
                (gone, RetireOutcome::DropPanicked)
            }
        }
    }
}
