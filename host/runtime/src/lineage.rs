//! Marks the processes that come from a plugin: its shim, and all descendants of the shim, which inherit the mark. None
//! of them can remove it. This mark of a process is not related to the marks of threads in the crash record.
//!
//! Pid, process group, session and parent all change when a process forks twice and calls `setsid`. Two properties
//! survive every `fork`, `exec` and change of namespace: `no_new_privs`, which cannot be unset, and a hard resource
//! limit, which only a process with `CAP_SYS_RESOURCE` in the initial user namespace can raise. So a shim sets both
//! before it opens the plugin's library. The limit is `RLIMIT_RSS`, a limit on resident memory that Linux does not
//! enforce. The shim sets it to a value that no other program uses and that is lower than the host's own limit. A
//! process that lowers the limit further is still marked, because every limit up to that value counts as a mark.
//!
//! A process counts as a plugin's only if it has both properties. If the host's own limit is 0, no lower limit exists.
//! Then `no_new_privs` alone decides, unless the host itself has `no_new_privs`: in that case, no process counts as a
//! plugin's.

mod origin;

pub use origin::{Origin, origin};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::set_no_new_privs,
};
use std::io;

/// `replug` in ASCII, read as a number of bytes. No machine has this much memory.
const MARK: u64 = 0x7265_706c_7567_0000;

/// The mark of a host's plugins: a limit that is lower than the host's own hard limit. The argument `hard` is the host's
/// limit, and is `None` if the host has no limit. Returns `None` if no lower limit exists.
fn below(hard: Option<u64>) -> Option<u64> {
    match hard {
        None => Some(MARK),
        Some(hard) => hard.checked_sub(1).map(|below| below.min(MARK)),
    }
}

/// Marks this process and all its future descendants. This process must have only one thread, because `no_new_privs` is
/// a property of the calling thread.
pub(crate) fn mark_this_process() -> io::Result<()> {
    set_no_new_privs(true)?;
    if let Some(mark) = below(getrlimit(Resource::Rss).maximum) {
        setrlimit(Resource::Rss, Rlimit { current: Some(mark), maximum: Some(mark) })?;
    }
    Ok(())
}
