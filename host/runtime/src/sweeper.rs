//! Removes the socket of a host that was killed.
//!
//! A killed host cannot remove its socket, and its parent may be killed at the same time. So, before a host makes a
//! socket, it starts a *sweeper*: a second process of the same program, in a process group of its own. The sweeper
//! reads from a pipe whose only writer is the host, so that it gets end of file when the host exits. Then the sweeper
//! removes the socket, unless another host listens on the same path by then. If the folder of the socket is only for
//! sockets of hosts and is now empty, the sweeper removes the folder, too.
//!
//! Each process locks the folder while it checks a socket in the folder, or removes the folder.

use rustix::fs::{FlockOperation, flock};
use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The first argument of a process that becomes a sweeper. The paths of a [`SocketPaths`] follow.
pub const MARKER: &str = "__replug-sweep";

/// How long a host may take to answer a probe of its socket.
const ANSWER: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 2 });

/// The paths that a host creates for its socket.
#[derive(Clone, Debug)]
pub struct SocketPaths {
    /// The path of the socket.
    pub socket: PathBuf,
    /// The folder of the socket, if the folder is only for sockets of hosts. Such a folder is removed together with the
    /// last socket.
    pub folder: Option<PathBuf>,
}

impl SocketPaths {
    /// Removes the folder, if there is one and it is empty.
    pub fn close(&self) {
        let Some(folder) = &self.folder else { return };
        let Ok(lock) = File::open(folder) else { return };
        // Another process that holds the lock is about to create a socket in the folder, or to remove the folder.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir(folder);
        }
    }

    fn sweep(&self) -> io::Result<()> {
        let _lock = lock(self.socket.parent().unwrap_or(Path::new("/")))?;
        remove_dead(&self.socket)?;
        // An error means that the folder contains another socket.
        self.folder.as_ref().map_or(Ok(()), fs::remove_dir)
    }
}

/// The process that removes the paths of a [`SocketPaths`] after the host has exited. Dropping this value kills the
/// process, so that it removes nothing.
#[derive(Debug)]
pub struct Sweeper(Child);

impl Sweeper {
    /// Starts the sweeper. `program` is this program; its `main` calls `run_if_asked`.
    ///
    /// # Errors
    ///
    /// An error of the operating system if the process cannot be started.
    pub fn start(program: &Path, place: &SocketPaths) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(MARKER).arg(std::path::absolute(&place.socket)?);
        if let Some(folder) = &place.folder {
            command.arg(std::path::absolute(folder)?);
        }
        // A process that reads the host's output expects end of file when the host exits. So the sweeper must not keep
        // the output open.
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command.process_group(0).spawn().map(Self)
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // An error means that another process has already killed the sweeper.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs as a sweeper, with the arguments that follow the marker.
pub fn run(mut arguments: impl Iterator<Item = OsString>) -> ! {
    let Some(socket) = arguments.next() else { process::exit(2) };
    let place = SocketPaths { socket: socket.into(), folder: arguments.next().map(PathBuf::from) };
    // A file system that contains the working directory of a process cannot be unmounted.
    let _ = env::set_current_dir("/");
    // The host writes nothing to the pipe. Its end, or an error, means that the host has exited.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    // If this fails, the next host on the same plugins folder removes the files.
    let _ = place.sweep();
    process::exit(0)
}

/// Takes the lock of a folder.
///
/// # Errors
///
/// * An error of the kind `NotFound` if the folder does not exist, or was removed while this process waited for the
///   lock.
/// * Any other error of the operating system if the folder cannot be opened or locked.
pub fn lock(folder: &Path) -> io::Result<File> {
    let identity = |it: fs::Metadata| (it.dev(), it.ino());
    let lock = File::open(folder)?;
    flock(&lock, FlockOperation::LockExclusive)?;
    if identity(fs::metadata(folder)?) == identity(lock.metadata()?) {
        Ok(lock)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// What is at the path of a socket after [`remove_dead`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing exists at the path.
    Nothing,
    /// A host, or another program that accepts connections, listens on the socket.
    Host,
}

/// Removes a socket if no process listens on it. Returns what is at the path afterwards. The caller holds the
/// lock of the folder.
///
/// # Errors
///
/// * An error of the kind `AlreadyExists` if the path exists and is not a socket.
/// * Any other error of the operating system.
pub fn remove_dead(socket: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(it) if !it.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the path exists and is not a socket"));
        }
        Ok(_) => {}
    }
    let began = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            // The socket accepts connections, but no host answers: the host is being killed, and its socket will soon
            // refuse connections.
            Ok(stream) if began.elapsed() < ANSWER && !is_answered(&stream) => thread::yield_now(),
            Ok(_) => return Ok(Found::Host),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                return fs::remove_file(socket).map(|()| Found::Nothing);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a host answers at the other end. A killed host leaves a socket that accepts connections until the kernel
/// has closed all of its files.
fn is_answered(mut stream: &UnixStream) -> bool {
    use io::ErrorKind::{TimedOut, WouldBlock};
    // Without a timeout, the read could block forever.
    if stream.set_read_timeout(Some(ANSWER)).is_err() {
        return true;
    }
    let asked =
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    match asked.and_then(|()| stream.read(&mut [0])) {
        Ok(read) => read > 0,
        // No answer in time means that the host is slow, not that it is gone.
        Err(error) => matches!(error.kind(), TimedOut | WouldBlock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn place(dir: &Path) -> SocketPaths {
        let folder = dir.join("replug");
        fs::create_dir(&folder).unwrap();
        SocketPaths { socket: folder.join("host.sock"), folder: Some(folder) }
    }

    #[test]
    fn a_socket_that_no_one_listens_on_is_swept_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        drop(UnixListener::bind(&place.socket).unwrap());
        place.sweep().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        let gone = lock(&dir.path().join("replug")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_socket_on_which_the_next_host_listens_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let listener = UnixListener::bind(&place.socket).unwrap();
        let next = thread::spawn(move || {
            let mut asked = listener.accept().unwrap().0;
            // Closing a socket with unread data would discard the answer.
            assert!(asked.read(&mut [0; 1024]).unwrap() > 0);
            asked.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
            (listener, asked)
        });
        place.sweep().unwrap_err();
        let _listening = next.join().unwrap();
        assert!(place.socket.exists());
    }

    #[test]
    fn a_folder_is_removed_only_when_it_is_empty_and_not_locked() {
        let dir = tempfile::tempdir().unwrap();
        let place = place(dir.path());
        let folder = place.folder.clone().unwrap();
        fs::write(folder.join("other.sock"), "").unwrap();
        place.close();
        fs::remove_file(folder.join("other.sock")).unwrap();
        let held = lock(&folder).unwrap();
        place.close();
        assert!(folder.exists(), "another process is about to create a socket in it");
        drop(held);
        // A child process that another test has just forked also holds the lock until it executes its program.
        while folder.exists() {
            place.close();
        }
    }
}
