//! The end of a generation, in this process or in a child process.

use super::record::Live;
use crate::body::{Retire, Unmap};
use replug_model::event::RetireOutcome;

/// Stops and drops an instance. No call is in the instance, and none will be.
pub fn end(live: Live, unmap: Unmap) -> RetireOutcome {
    let Live { body, lease, loaded_file_bytes, .. } = live;
    body.retire(Retire { lease: &lease, loaded_file_bytes, unmap })
}

/// Drops an instance that never served. Its library stays mapped, or its process ends. The caller removes its copy.
pub fn discard(live: Live) {
    let Live { body, lease, .. } = live;
    body.discard(&lease);
}
