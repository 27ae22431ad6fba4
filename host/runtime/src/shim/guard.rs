//! Makes sure that a shim never outlives its host, and that nothing its plugin started outlives the shim.
//!
//! The shim begins a session of its own, so that it has no terminal: a plugin cannot read what is typed for the
//! host, and cannot write to the terminal directly.
//!
//! The lifeline is a pipe of which only the host has a writing end. The pipe ends when the host closes it or ends,
//! in whatever way. Then the shim kills its own process group. A stopped shim could not do that, so the kernel is
//! asked to send it `SIGCONT` when the host ends; a running shim is not affected by that signal. `SIGKILL` instead
//! would end the shim before it could end what the plugin has started.

use super::ShimError;
use crate::load::process::cgroup::Switch;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, set_parent_process_death_signal, setsid,
};
use std::{fs::File, io, os::fd::OwnedFd, sync::OnceLock, thread};

/// The switch that ends the cgroup that the host has made for this process, if it has.
static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

/// Binds the life of this process to the host's.
pub(super) fn follow(host: Pid) -> Result<(), ShimError> {
    setsid().map_err(ShimError::system("cannot create a session"))?;
    set_parent_process_death_signal(Some(Signal::CONT))
        .map_err(ShimError::system("cannot ask the kernel for a signal at the end of the host"))?;
    // The host may have ended before this call.
    if getppid() == Some(host) { Ok(()) } else { Err(ShimError::HostGone) }
}

/// Kills all processes here when the lifeline ends. The host has moved this process into its cgroup before it hands
/// over the lifeline.
pub(super) fn hold(lifeline: OwnedFd, host: Pid) -> Result<(), ShimError> {
    SWITCH.get_or_init(|| Switch::of_this_process(host));
    let wait = move || {
        let mut lifeline = File::from(lifeline);
        // The host writes nothing. The end of the pipe, or an error, means that the lifeline is gone.
        let _ = io::copy(&mut lifeline, &mut io::sink());
        end()
    };
    let started = thread::Builder::new().name("replug-lifeline".into()).spawn(wait);
    started.map(drop).map_err(ShimError::system("cannot start the thread that waits for the end of the host"))
}

/// Kills this process, all of the group that it leads, and all of its cgroup, if it has one. No destructor runs:
/// the plugin could hang in one.
pub(crate) fn end() -> ! {
    if let Some(Some(switch)) = SWITCH.get() {
        switch.kill_all();
    }
    // If either fails, nothing is left to be done, and the second cannot fail.
    let _ = kill_process_group(getpid(), Signal::KILL);
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
