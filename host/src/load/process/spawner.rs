//! The thread that starts all children. The kernel ties a child's end to the end of the thread that started it, so that
//! thread must not end before the host does.

use std::{
    io,
    process::{Child, Command},
    sync::{OnceLock, mpsc},
    thread,
};

type Job = (Command, mpsc::Sender<io::Result<Child>>);

static SPAWNER: OnceLock<io::Result<mpsc::Sender<Job>>> = OnceLock::new();

/// Starts a child on the permanent thread.
pub(super) fn spawn(command: Command) -> io::Result<Child> {
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let work = move || {
            for (mut command, reply) in inbox {
                // Whoever asked may have given up.
                let _ = reply.send(command.spawn());
            }
        };
        thread::Builder::new().name("replug-spawn".into()).spawn(work).map(|_| jobs)
    });
    let jobs = spawner.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (reply, answer) = mpsc::channel();
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    jobs.send((command, reply)).map_err(|_| gone(()))?;
    answer.recv().map_err(|_| gone(()))?
}
