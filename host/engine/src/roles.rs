//! Selects the task of this program when a host executes it as a helper process: shim, sweeper, guard or recorder.

use replug_builder::guard;
use replug_runtime::{recorder, shim, sweeper};
use std::env;

/// If a host has started this process as a helper process, runs the helper and does not return. Otherwise, returns
/// immediately.
///
/// A program that embeds a host calls this first in `main`. The host executes the program again for each of these
/// helper processes:
///
/// * for each plugin in a child process, and for trials: a shim, which runs the plugin
/// * if the host has a socket: a sweeper, which removes the socket if the host is killed
/// * for builds: a guard, which ends the builds if the host is killed
/// * if the host has no [parent](crate::parent): a recorder, which writes the crash record
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
        // An error is ignored: an open descriptor does less harm here than a socket that is not removed.
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
