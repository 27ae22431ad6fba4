//! Which processes come from a plugin: a mark that a process passes on to all that it starts, and that none of them can
//! remove.
//!
//! A number, a process group, a session and a parent all change when a process forks twice and calls `setsid`. Two things do
//! not, whatever a process starts, runs or joins: `no_new_privs`, which has no way back, and a hard resource limit, which
//! only a process with `CAP_SYS_RESOURCE` in the first user namespace can raise. So a shim sets both before it opens the
//! plugin's library. The limit is that on resident memory, `RLIMIT_RSS`, which Linux does not enforce, so that it bounds
//! nothing; its value is one that nobody else sets, and lower than the host's own. Whoever lowers it further is still marked.
//!
//! A process is taken for a plugin's only if it has both. Where the host's own limit is 0 there is no lower one, and then
//! `no_new_privs` alone counts, unless the host has that itself.

mod origin;

pub use origin::{Origin, origin};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::set_no_new_privs,
};
use std::io;

/// `replug` in ASCII, as a number of bytes that no machine has.
const MARK: u64 = 0x7265_706c_7567_0000;

/// The mark of a process whose host has this hard limit; none if nothing is lower.
fn below(hard: Option<u64>) -> Option<u64> {
    match hard {
        None => Some(MARK),
        Some(hard) => hard.checked_sub(1).map(|below| below.min(MARK)),
    }
}

/// Marks this process and all that it will start. To be called before it has a second thread.
pub(crate) fn mark_this_process() -> io::Result<()> {
    set_no_new_privs(true)?;
    if let Some(mark) = below(getrlimit(Resource::Rss).maximum) {
        setrlimit(Resource::Rss, Rlimit { current: Some(mark), maximum: Some(mark) })?;
    }
    Ok(())
}
