//! Makes sure that this process gets the exit status of its child processes, even if a plugin, or the program that
//! started this process, has caused `SIGCHLD` to be ignored.
//!
//! While `SIGCHLD` is ignored, the kernel keeps no exit status of child processes. Then a build would fail without a
//! visible reason, and the host could not report why a plugin's process terminated.

use libc::sigaction;
use std::{
    mem::zeroed,
    ptr::{null, null_mut},
};

/// Makes the kernel keep the exit status of child processes: clears the flag `SA_NOCLDWAIT` of `SIGCHLD`, and restores
/// the default action if the signal was ignored. Logs a warning if it has changed anything.
pub fn restore_sigchld() {
    // SAFETY: an all-zero `sigaction` is a valid value of a C struct. The first call writes to it, and the second call
    // reads from it. The second call sets the action that the first call has read, without the flag; if the signal was
    // ignored, it sets the default action, which is not a function.
    let restored = unsafe {
        let mut action: sigaction = zeroed();
        if sigaction(libc::SIGCHLD, null(), &mut action) != 0 {
            return;
        }
        let is_ignored = action.sa_sigaction == libc::SIG_IGN;
        if !is_ignored && action.sa_flags & libc::SA_NOCLDWAIT == 0 {
            return;
        }
        if is_ignored {
            action.sa_sigaction = libc::SIG_DFL;
        }
        action.sa_flags &= !libc::SA_NOCLDWAIT;
        sigaction(libc::SIGCHLD, &action, null_mut()) == 0
    };
    if restored {
        tracing::warn!(
            "this process ignored SIGCHLD, so the host could not read the exit status of builds; the host has restored \
             the default action. A plugin in this process, or the program that started the host, has set SIGCHLD to be \
             ignored: do not ignore it there"
        );
    }
}
