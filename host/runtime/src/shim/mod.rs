//! The child process that runs a plugin for a host: this same program, run again.
//!
//! It loads the artifact with the code that the host itself would use, serves the steps of its life over one connection,
//! what cannot wait for them over another, calls over further ones, and ends with its host. There is nothing else in it: no runtime, no plugin folder, no clap.
//!
//! In this order, before the first line of the plugin's can run:
//!
//! 1. `inherited.rs`: closes what came with it from the host, but for the three standard descriptors, and takes back that
//!    signals are ignored.
//! 2. `guard.rs`: becomes the leader of a session and of a process group; asks to be told of the host's end; makes sure that
//!    it has not come already.
//! 3. No core is dumped. The kernel may end this process before the host for lack of memory.
//! 4. `lineage.rs` marks it as a plugin's process, for good, and with it all that it starts: `no_new_privs`, and a limit.
//! 5. `privileges.rs`: gives up its capabilities, unless it is for a trial of what is to run in the host's process.
//! 6. Takes the control connection from its standard input, and puts `/dev/null` there.
//! 7. `serve.rs`: greets the host, and takes the connection for reports, the lifeline and the service connection from
//!    it.
//! 8. `guard.rs`: opens what ends the cgroup that the host has put it in, if any, and starts the thread that waits for the
//!    end of the lifeline, which is the end of everything here.
//! 9. `service.rs`: starts the thread that serves the service connection.
//! 10. As the host asks, `limits.rs` bounds the process, and the library is opened.
//!
//! **Architecture Invariant:** the shim opens no file of its own, but that which ends its cgroup, and writes nothing to its
//! standard output; to its standard error only why it ends.

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

/// The exit status of a shim that could not do its work, or whose host did not speak its language.
pub const EXIT_UNFIT: i32 = 70;

/// The first argument of a process that is to be a shim.
pub const MARKER: &str = SHIM_MARKER;

/// Notes that this program becomes a shim when it is run again as one, and says which program that is.
pub fn offer() -> PathBuf {
    OFFERED.store(true, Ordering::Relaxed);
    Program::own().path().to_owned()
}

/// Closes what came with this process from the one that started it, but for the three standard descriptors.
///
/// # Errors
///
/// If the kernel does not say what is open.
pub fn close_inherited() -> io::Result<()> {
    inherited::close_all()
}

/// Is a shim, with the arguments that follow the marker.
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
    #[error("this is not for people: a replug host runs it, with its process id and a connection")]
    NotByAHost,
    #[error("the host that started it is gone")]
    HostGone,
    #[error("{what}: {source}")]
    System { what: &'static str, source: io::Error },
    #[error("the host cannot be talked to: {0}")]
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
    inherited::close_all().map_err(ShimError::system("cannot close what came from the host"))?;
    inherited::heed_signals().map_err(ShimError::system("signals cannot be heeded"))?;
    guard::follow(host)?;
    limits::no_core().map_err(ShimError::system("core dumps cannot be turned off"))?;
    limits::end_before_the_host();
    lineage::mark_this_process().map_err(ShimError::system("it cannot be marked as a plugin's process"))?;
    if !keeps_capabilities {
        privileges::give_up().map_err(ShimError::system("capabilities cannot be given up"))?;
    }
    let (mut shim, lifeline, service) = serve::Shim::meet(take_control()?)?;
    guard::hold(lifeline, host)?;
    service.run().map_err(ShimError::system("cannot start a thread"))?;
    shim.serve()
}

/// The connection that came as standard input, which what the plugin starts must not have.
fn take_control() -> Result<UnixStream, ShimError> {
    let stdin = io::stdin();
    let control =
        stdin.as_fd().try_clone_to_owned().map_err(ShimError::system("cannot take the connection"))?;
    let null = File::open("/dev/null").map_err(ShimError::system("cannot open /dev/null"))?;
    rustix::stdio::dup2_stdin(null).map_err(ShimError::system("cannot put /dev/null in place"))?;
    let control = UnixStream::from(control);
    control.local_addr().map_err(|_| ShimError::NotByAHost)?;
    Ok(control)
}
