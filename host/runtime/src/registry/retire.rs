//! Drops generations, in this process or in a child process.

use super::{
    body::{Retire, Unmap},
    record::Live,
};
use replug_model::event::RetireOutcome;

/// Stops and drops the instance of a generation that has served. The caller guarantees that no call runs in the
/// instance and that none will begin.
pub fn end(live: Live, unmap: Unmap) -> RetireOutcome {
    let Live { body, lease, loaded_file_bytes, .. } = live;
    body.retire(Retire { lease: &lease, loaded_file_bytes, unmap })
}

/// Drops an instance that never served. Its library stays mapped, or its process terminates. The caller removes the
/// private copy of the artifact.
pub fn discard(live: Live) {
    let Live { body, lease, .. } = live;
    body.discard(&lease);
}
