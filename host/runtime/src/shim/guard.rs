//! Makes sure that a shim never outlives its host. When the shim exits, the processes that the plugin has started are
//! killed, too, if they are in the shim's process group or cgroup.
//!
//! The shim begins a session of its own, so that it has no terminal: a plugin cannot read what is typed for the
//! host, and cannot write to the terminal directly.
//!
//! The lifeline is a pipe whose writing end only the host has. The pipe is closed when the host closes it or terminates
//! for any reason. Then the shim kills its own process group. A stopped shim could not do that, so the kernel sends it
//! `SIGCONT` when the host terminates; this signal does not affect a running shim. If the kernel sent `SIGKILL`
//! instead, the shim could not kill the processes that the plugin has started.

use super::ShimError;
use crate::load::process::cgroup::Switch;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process, kill_process_group, set_parent_process_death_signal, setsid,
};
use std::{fs::File, io, os::fd::OwnedFd, sync::OnceLock, thread};

/// The switch that kills the cgroup of this process, if the host has made a cgroup for it.
static SWITCH: OnceLock<Option<Switch>> = OnceLock::new();

/// Binds the life of this process to the host's.
pub(super) fn follow(host: Pid) -> Result<(), ShimError> {
    setsid().map_err(ShimError::system("cannot create a session"))?;
    set_parent_process_death_signal(Some(Signal::CONT))
        .map_err(ShimError::system("cannot ask the kernel for a signal when the host exits"))?;
    // The host may have terminated before the signal was set.
    if getppid() == Some(host) { Ok(()) } else { Err(ShimError::HostGone) }
}

/// Starts a thread that calls [`end`] when the lifeline is closed. The host moves this process into its cgroup before
/// it passes the lifeline.
pub(super) fn hold(lifeline: OwnedFd, host: Pid) -> Result<(), ShimError> {
    SWITCH.get_or_init(|| Switch::of_this_process(host));
    let wait = move || {
        let mut lifeline = File::from(lifeline);
        // The host writes nothing. The end of the pipe, or an error, means that the lifeline is closed.
        let _ = io::copy(&mut lifeline, &mut io::sink());
        end()
    };
    let started = thread::Builder::new().name("replug-lifeline".into()).spawn(wait);
    started
        .map(drop)
        .map_err(ShimError::system("cannot start the thread that waits for the exit of the host"))
}

/// Kills this process, the process group that it leads, and all processes in its cgroup, if it has one. No destructor
/// runs, because a destructor of the plugin could hang.
pub(crate) fn end() -> ! {
    if let Some(Some(switch)) = SWITCH.get() {
        switch.kill_all();
    }
    // No error can be handled here. Killing this process itself cannot fail.
    let _ = kill_process_group(getpid(), Signal::KILL);
    let _ = kill_process(getpid(), Signal::KILL);
    std::process::abort()
}
