//! What this program becomes when a host runs it again: a shim, a sweeper, a guard or a recorder.

use replug_builder::guard;
use replug_runtime::{recorder, shim, sweeper};
use std::env;

/// Becomes a shim if this process was started as one, and does not return then. Otherwise returns at once.
///
/// A program that embeds a host calls this first in `main`. The host runs the program again for each plugin in a child
/// process. It also runs the program once more for each of these tasks, if they apply: to remove its socket if the host
/// is killed; to end its builds; and, if it has no [parent](crate::parent), to write its crash record.
///
/// ```no_run
/// # mod replug { pub use replug_engine::shim; }
/// replug::shim::run_if_asked();
/// // the program itself
/// ```
pub fn run_if_asked() {
    guard::guarded_by(&shim::offer());
    let mut arguments = env::args_os().skip(1);
    let Some(first) = arguments.next() else { return };
    if first == shim::MARKER {
        shim::run(arguments);
    }
    if first == sweeper::MARKER {
        // An open descriptor does no harm here; a socket that is not removed does.
        let _ = shim::close_inherited();
        sweeper::run(arguments);
    }
    if first == guard::MARKER {
        let _ = shim::close_inherited();
        guard::run();
    }
    if first == recorder::MARKER {
        let _ = shim::close_inherited();
        recorder::run(arguments);
    }
}
