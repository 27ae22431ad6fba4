//! That a shim never outlives its host, and nothing that its plugin started outlives the shim.
//!
//! It begins a session of its own, so that it has no terminal: a plugin does not read what is typed for the host, nor write
//! past what is shown of it.
//!
//! The lifeline is a pipe of which only the host has a writing end. Its end comes when the host lets go of it or
//! ceases to be, however that happens, and then the shim kills its own process group. A shim that was stopped could not
//! do that, so the kernel is asked to send it `SIGCONT` when the host ends: to a running one that means nothing.
//! `SIGKILL` in its place would end the shim before it could end what the plugin has started.

use super::ShimError;
use crate::load::process::cgroup::Switch;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, set_parent_process_death_signal, setsid,
};
use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::fd::OwnedFd,
    sync::OnceLock,
    thread,
};

/// What ends the cgroup that the host has made for this process, if it has.
static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

/// Ties this process to the host's.
pub(super) fn follow(host: Pid) -> Result<(), ShimError> {
    setsid().map_err(ShimError::system("cannot begin a session"))?;
    set_parent_process_death_signal(Some(Signal::CONT))
        .map_err(ShimError::system("cannot be told of the host's end"))?;
    // The host may have ended before the kernel was asked.
    if getppid() == Some(host) { Ok(()) } else { Err(ShimError::HostGone) }
}

/// Ends everything here at the end of the lifeline. The host has put this process where it is to be before it gave the
/// lifeline.
pub(super) fn hold(lifeline: OwnedFd, host: Pid) -> Result<(), ShimError> {
    SWITCH.get_or_init(|| Switch::of_this_process(host));
    let wait = move || {
        let mut lifeline = File::from(lifeline);
        // The host writes nothing: whatever happens, but for a signal, means that the lifeline is gone.
        while lifeline.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::Interrupted) {}
        end()
    };
    let started = thread::Builder::new().name("replug-lifeline".into()).spawn(wait);
    started.map(drop).map_err(ShimError::system("cannot start the thread that waits for the host's end"))
}

/// Kills this process with all of its group, which it leads, and all of its cgroup, if it has one of its own. No destructor
/// runs: the plugin could hang in one.
pub(crate) fn end() -> ! {
    if let Some(Some(switch)) = SWITCH.get() {
        switch.kill_all();
    }
    // Nothing is left to be done if either fails, and the second cannot.
    let _ = kill_process_group(getpid(), Signal::KILL);
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
