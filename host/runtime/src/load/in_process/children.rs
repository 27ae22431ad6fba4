//! Makes sure that this process gets the exit status of its child processes, even if a plugin in it, or the program
//! that started it, made it ignore `SIGCHLD`.
//!
//! While `SIGCHLD` is ignored, the kernel keeps no status of a child that has ended. A build would fail without a
//! visible reason, and nothing would tell how a plugin's process died.

use libc::sigaction;
use std::{
    mem::zeroed,
    ptr::{null, null_mut},
};

/// Makes this process heed `SIGCHLD`: clears `SA_NOCLDWAIT`, and restores the default action if the signal was ignored.
/// Logs a warning if it had to.
pub fn heed_children() {
    // SAFETY: an all-zero `sigaction` is a valid value of a C struct; the first call gets a place to write to, the
    // second one to read from. The second call sets what the first has read without the flag, or the default
    // action, which is no function of any library.
    let heeded = unsafe {
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
    if heeded {
        tracing::warn!(
            "SIGCHLD was ignored in this process, which hides the exit status of its child processes, such as builds; its \
             default action is restored. A plugin in this process has set it, or the program that started the host"
        );
    }
}
