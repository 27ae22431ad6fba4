//! The shim: the child process that runs a plugin for a host. It is a second process of the same program.
//!
//! The shim loads the artifact with the same code as the host. It serves the lifecycle steps on the control connection,
//! service commands on the service connection, and calls on lanes. It does not outlive its host. It starts no async
//! runtime.
//!
//! The shim takes these steps before any code of the plugin runs:
//!
//! 1. `inherited.rs`: closes all descriptors that it inherited from the host, except the three standard ones, and
//!    resets ignored signals.
//! 2. `guard.rs`: becomes the leader of a session and of a process group, asks the kernel for a signal when the host
//!    terminates, and checks that the host has not terminated already.
//! 3. `limits.rs`: turns core dumps off, and resets an inherited protection from the out-of-memory killer.
//! 4. `host/runtime/src/lineage.rs`: marks the process and its descendants permanently as processes of a plugin, with
//!    `no_new_privs` and a resource limit.
//! 5. `privileges.rs`: gives up its capabilities, except in the trial of an artifact that will run in the host's
//!    process.
//! 6. Takes the control connection from its standard input, and puts `/dev/null` there.
//! 7. `serve.rs`: greets the host, and receives from it the connection for reports, the lifeline and the service
//!    connection.
//! 8. `guard.rs`: opens the file that kills its cgroup, if the host has made a cgroup for it. Starts the thread that
//!    waits until the lifeline is closed, and then kills this process, its process group and its cgroup.
//! 9. `service.rs`: starts the thread that serves the service connection.
//! 10. On a request of the host, `limits.rs` limits the process, and the shim opens the library.
//!
//! **Architecture Invariant:** the shim keeps no file of its own open, except the one that kills its cgroup. It writes
//! nothing to its standard output. To its standard error, it writes only the reason why it exits.

mod guard;
mod inherited;
mod lane;
mod limits;
mod privileges;
mod reporter;
mod serve;
mod service;
#[cfg(test)]
mod tests;

use crate::{lineage, program::Program};
use replug_wire::{SHIM_KEEPS_CAPABILITIES, SHIM_MARKER, WireError};
use rustix::process::Pid;
use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{fd::AsFd, unix::net::UnixStream},
    path::PathBuf,
    process,
    sync::atomic::{AtomicBool, Ordering},
};

/// The exit status of a shim that could not be set up, or whose host did not follow the protocol.
pub const EXIT_UNFIT: i32 = 70;

/// The first argument of a process that becomes a shim.
pub const MARKER: &str = SHIM_MARKER;

/// Declares that a second process of this program can become a shim. Returns the path of the program.
pub fn offer() -> PathBuf {
    OFFERED.store(true, Ordering::Relaxed);
    Program::own().path().to_owned()
}

/// Closes all descriptors that this process inherited, except the three standard ones.
///
/// # Errors
///
/// An error of the operating system if the kernel can neither close nor list the open descriptors.
pub fn close_inherited() -> io::Result<()> {
    inherited::close_all()
}

/// Runs as a shim, with the arguments that follow the marker.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ! {
    match serve_host(arguments) {
        Ok(serve::Ended::Asked) => process::exit(0),
        Ok(serve::Ended::HungUp) => guard::end(),
        Err(error) => {
            eprintln!("replug shim: {error}");
            process::exit(EXIT_UNFIT)
        }
    }
}

/// Whether a second process of this program can become a shim: whether the program has called [`offer`].
pub fn is_offered() -> bool {
    OFFERED.load(Ordering::Relaxed)
}

static OFFERED: AtomicBool = AtomicBool::new(false);

/// Why a shim exits without a request of its host.
#[derive(thiserror::Error)]
enum ShimError {
    #[error("this command is internal: a replug host runs it, with its process id and a connection")]
    NotByAHost,
    #[error("the host that started this process is gone")]
    HostGone,
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("cannot communicate with the host: {0}")]
    Wire(#[from] WireError),
}

replug_model::readable::readable!(ShimError);

impl ShimError {
    fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::System { what, source: error.into() }
    }
}

fn serve_host(mut arguments: impl Iterator<Item = OsString>) -> Result<serve::Ended, ShimError> {
    let host = arguments.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let host = host.ok_or(ShimError::NotByAHost)?;
    let keeps_capabilities = arguments.next().is_some_and(|it| it == SHIM_KEEPS_CAPABILITIES);
    inherited::close_all().map_err(ShimError::system("cannot close inherited descriptors"))?;
    inherited::reset_ignored_signals().map_err(ShimError::system("cannot reset ignored signals"))?;
    guard::follow(host)?;
    limits::no_core().map_err(ShimError::system("cannot turn off core dumps"))?;
    limits::end_before_the_host();
    lineage::mark_this_process().map_err(ShimError::system("cannot mark this process as a plugin's"))?;
    if !keeps_capabilities {
        privileges::give_up().map_err(ShimError::system("cannot give up capabilities"))?;
    }
    let (mut shim, lifeline, service) = serve::Shim::meet(take_control()?)?;
    guard::hold(lifeline, host)?;
    service.run().map_err(ShimError::system("cannot start a thread"))?;
    shim.serve()
}

/// Takes the connection that the host has passed as standard input. Processes that the plugin starts must not inherit
/// it.
fn take_control() -> Result<UnixStream, ShimError> {
    let stdin = io::stdin();
    let control =
        stdin.as_fd().try_clone_to_owned().map_err(ShimError::system("cannot take the connection"))?;
    let null = File::open("/dev/null").map_err(ShimError::system("cannot open /dev/null"))?;
    rustix::stdio::dup2_stdin(null)
        .map_err(ShimError::system("cannot replace standard input with /dev/null"))?;
    let control = UnixStream::from(control);
    control.local_addr().map_err(|_| ShimError::NotByAHost)?;
    Ok(control)
}
