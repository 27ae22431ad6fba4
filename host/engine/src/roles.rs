//! What this program becomes when a host has run it again: the process of a plugin, or one that tidies up after a host.

use replug_builder::guard;
use replug_runtime::{recorder, shim, sweeper};
use std::env;

/// Becomes a shim if this process was started as one, and does not return then; otherwise returns at once.
///
/// A program that embeds a host calls this first in `main`: the host runs the program again for each plugin that is to
/// live in a process of its own. It also runs it once more to have its socket removed should it be killed, if it has one,
/// its builds ended, if it builds, and its crash record written down, if it has no [parent](crate::parent).
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
        // What is left open harms no one here; what is not swept does.
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
