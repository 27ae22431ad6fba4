//! The end of a generation, whatever it runs in.

use super::record::Live;
use crate::body::{Retire, Unmap};
use replug_model::event::RetireOutcome;

/// Stops and drops an instance that no call is inside, and none will be.
pub fn end(live: Live, unmap: Unmap) -> RetireOutcome {
    let Live { body, lease, loaded_file_bytes, .. } = live;
    body.retire(Retire { lease: &lease, loaded_file_bytes, unmap })
}

/// Drops an instance that never served. Its library stays mapped, or its process ends. The caller removes its copy.
pub fn discard(live: Live) {
    let Live { body, lease, .. } = live;
    body.discard(&lease);
}
