//! Marks the processes that come from a plugin. A process passes the mark on to all that it starts, and none of
//! them can remove it.
//!
//! Pid, process group, session and parent all change when a process forks twice and calls `setsid`. Two properties
//! stay, whatever a process starts, executes or joins: `no_new_privs`, which cannot be unset, and a hard resource
//! limit, which only a process with `CAP_SYS_RESOURCE` in the first user namespace can raise. So a shim sets both
//! before it opens the plugin's library. The limit is `RLIMIT_RSS`, for resident memory. Linux does not enforce it,
//! so it bounds nothing. Its value is one that no other program sets, and lower than the host's own. A process that
//! lowers it further is still marked.
//!
//! A process counts as a plugin's only if it has both properties. If the host's own limit is 0, no lower limit exists.
//! Then `no_new_privs` alone counts, unless the host itself has `no_new_privs`.

mod origin;

pub use origin::{Origin, origin};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::set_no_new_privs,
};
use std::io;

/// `replug` in ASCII, read as a number of bytes. No machine has so much memory.
const MARK: u64 = 0x7265_706c_7567_0000;

/// The mark for a host with this hard limit; `None` if no limit is lower.
fn below(hard: Option<u64>) -> Option<u64> {
    match hard {
        None => Some(MARK),
        Some(hard) => hard.checked_sub(1).map(|below| below.min(MARK)),
    }
}

/// Marks this process and all that it will start. The caller has not started a second thread yet.
pub(crate) fn mark_this_process() -> io::Result<()> {
    set_no_new_privs(true)?;
    if let Some(mark) = below(getrlimit(Resource::Rss).maximum) {
        setrlimit(Resource::Rss, Rlimit { current: Some(mark), maximum: Some(mark) })?;
    }
    Ok(())
}
