//! The child process that runs a plugin for a host: this same program, run again.
//!
//! The shim loads the artifact with the code that the host itself would use. It serves the lifecycle steps over one
//! connection, urgent requests over a second one, and calls over further ones. It ends with its host. It contains
//! nothing else: no async runtime, no plugin folder, no clap.
//!
//! The shim takes these steps before the first line of the plugin can run:
//!
//! 1. `inherited.rs`: closes all descriptors that it inherited from the host, except the three standard ones, and
//!    resets ignored signals.
//! 2. `guard.rs`: becomes the leader of a session and of a process group, asks the kernel for a signal at the end
//!    of the host, and checks that the host has not ended already.
//! 3. Turns core dumps off. Lets the kernel end this process before the host if memory runs out.
//! 4. `host/runtime/src/lineage.rs`: marks the process, and all that it starts, as a plugin's for good: `no_new_privs`,
//!    and a limit.
//! 5. `privileges.rs`: gives up its capabilities, except in a trial of an artifact that is to run in the host's
//!    process.
//! 6. Takes the control connection from its standard input, and puts `/dev/null` there.
//! 7. `serve.rs`: greets the host, and receives from it the connection for reports, the lifeline and the service
//!    connection.
//! 8. `guard.rs`: opens the switch that ends its cgroup, if the host has put it in one, and starts the thread that
//!    waits for the end of the lifeline and then kills all processes here.
//! 9. `service.rs`: starts the thread that serves the service connection.
//! 10. When the host asks for it, `limits.rs` limits the process, and the shim opens the library.
//!
//! **Architecture Invariant:** the shim opens no file of its own, except the switch that ends its cgroup. It writes
//! nothing to its standard output, and to its standard error only why it ends.

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

use crate::{lineage, load::process::Program};
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

/// The exit status of a shim that could not do its work, or whose host did not speak its protocol.
pub const EXIT_UNFIT: i32 = 70;

/// The first argument of a process that becomes a shim.
pub const MARKER: &str = SHIM_MARKER;

/// Declares that this program becomes a shim when it is run again as one. Returns the path of the program.
pub fn offer() -> PathBuf {
    OFFERED.store(true, Ordering::Relaxed);
    Program::own().path().to_owned()
}

/// Closes all descriptors that this process inherited, except the three standard ones.
///
/// # Errors
///
/// If the kernel does not list the open descriptors.
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

/// Whether this program becomes a shim when it is run again as one: whether it called [`offer`].
pub fn is_offered() -> bool {
    OFFERED.load(Ordering::Relaxed)
}

static OFFERED: AtomicBool = AtomicBool::new(false);

/// Why a shim ends without having been asked to.
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

/// Takes the connection that came as standard input. Processes that the plugin starts must not inherit it.
fn take_control() -> Result<UnixStream, ShimError> {
    let stdin = io::stdin();
    let control =
        stdin.as_fd().try_clone_to_owned().map_err(ShimError::system("cannot take the connection"))?;
    let null = File::open("/dev/null").map_err(ShimError::system("cannot open /dev/null"))?;
    rustix::stdio::dup2_stdin(null)
        .map_err(ShimError::system("cannot replace standard input by /dev/null"))?;
    let control = UnixStream::from(control);
    control.local_addr().map_err(|_| ShimError::NotByAHost)?;
    Ok(control)
}
