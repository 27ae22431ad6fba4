//! That this process learns how the processes end that it starts, whatever a plugin in it, or the program that has started it,
//! has done about `SIGCHLD`.
//!
//! While that is ignored, the kernel keeps no status of a child that has ended. A build would fail for no reason that anyone
//! could see, and how a plugin's process has died would not be known.

use libc::sigaction;
use std::{
    mem::zeroed,
    ptr::{null, null_mut},
};

/// Has `SIGCHLD` no longer ignored, and says so if it was.
pub fn heed_children() {
    // SAFETY: an all-zero `sigaction` is a valid value of a C struct; the first call gets a place to write to, the second one
    // to read from. What is put in is what was there, without the flag, or the default action, which is no function of
    // anyone's.
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
            "SIGCHLD was ignored in this process, which hides how the processes have ended that it starts, such as builds: it no \
             longer is; a plugin in this process had it ignored, or whatever has started the program"
        );
    }
}
