//! The thread that starts all children. The kernel sends the parent-death signal to a child when the thread that
//! started the child exits. So this thread must run until the host exits.

use parking_lot::Mutex;
use std::{
    io,
    process::{Child, Command},
    sync::mpsc,
    thread,
};

type Job = (Command, mpsc::Sender<io::Result<Child>>);

/// The channel to the thread; `None` until the thread is started.
static SPAWNER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

/// Starts a child on the permanent thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let gone = || io::Error::other("the thread that starts processes has exited");
    let jobs = spawner()?;
    let (reply, answer) = mpsc::channel();
    jobs.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}

fn spawner() -> io::Result<mpsc::Sender<Job>> {
    let mut spawner = SPAWNER.lock();
    if let Some(jobs) = &*spawner {
        return Ok(jobs.clone());
    }
    let (jobs, inbox) = mpsc::channel::<Job>();
    let work = move || {
        for (mut command, reply) in inbox {
            // An error means that the caller no longer waits.
            let _ = reply.send(command.spawn());
        }
    };
    thread::Builder::new().name("replug-spawn".into()).spawn(work)?;
    Ok(spawner.insert(jobs).clone())
}
