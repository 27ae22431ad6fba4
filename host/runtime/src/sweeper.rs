//! Removes the socket of a host that was killed.
//!
//! A killed host can do nothing more, and whatever kills it may kill its parent at the same moment. So, before a
//! host makes a socket, it starts a *sweeper*: this same program, run again in a process group of its own. The
//! sweeper opens nothing. It waits for the end of a pipe that only the host can write to, and the pipe ends when
//! the host does. Then the sweeper removes the socket, unless another host listens there by then. It also removes
//! the folder if that holds only sockets of hosts and this socket was the last.
//!
//! A process holds the lock of the folder while it looks at a socket in it or removes the folder.

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

/// The first argument of a process that becomes a sweeper. The paths to remove follow.
pub const MARKER: &str = "__replug-sweep";

/// How long a host may take to answer a probe of its socket.
const ANSWER: Duration = Duration::from_secs(2);

/// What a host creates for its socket.
#[derive(Clone, Debug)]
pub struct Place {
    /// The socket.
    pub socket: PathBuf,
    /// The folder of the socket, if it holds only sockets of hosts. It is removed with the last of them.
    pub folder: Option<PathBuf>,
}

impl Place {
    /// Removes the folder, if the place has one and it holds no other socket.
    pub fn close(&self) {
        let Some(folder) = &self.folder else { return };
        let Ok(lock) = File::open(folder) else { return };
        // A process that holds the lock either uses the folder or removes it.
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir(folder);
        }
    }

    fn sweep(&self) -> io::Result<()> {
        let _lock = lock(self.socket.parent().unwrap_or(Path::new("/")))?;
        remove_dead(&self.socket)?;
        // An error means that the folder is in use.
        self.folder.as_ref().map_or(Ok(()), fs::remove_dir)
    }
}

/// The process that removes the files of a place after the end of the host that started it. Dropping this kills the
/// process before it has done anything.
#[derive(Debug)]
pub struct Sweeper(Child);

impl Sweeper {
    /// Starts the sweeper: this program, which calls `run_if_asked`.
    pub fn start(program: &Path, place: &Place) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(MARKER).arg(std::path::absolute(&place.socket)?);
        if let Some(folder) = &place.folder {
            command.arg(std::path::absolute(folder)?);
        }
        // A process that reads the host's output sees end of file when the host ends; the sweeper must not hold the
        // pipe open.
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
    let place = Place { socket: socket.into(), folder: arguments.next().map(PathBuf::from) };
    // The inherited working directory would keep a file system from being unmounted.
    let _ = env::set_current_dir("/");
    // The host writes nothing to the pipe. Its end, or an error, means that the host has ended.
    let _ = io::copy(&mut io::stdin(), &mut io::sink());
    // The next host on the same plugins folder removes what this sweeper cannot.
    let _ = place.sweep();
    process::exit(0)
}

/// Takes the lock of a folder.
///
/// # Errors
///
/// Of the kind `NotFound` if the folder is gone, even if it was removed while another process held the lock.
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

/// What is at the path of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing is there any more.
    Nothing,
    /// A host listens there, or another program that accepts connections.
    Host,
}

/// Removes a socket that no process listens on any more. Returns what is at the path after that. The caller holds the
/// lock of the folder.
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
            // The host is being killed, and its socket will soon refuse connections.
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
    // Without a timeout, the read could block for ever.
    if stream.set_read_timeout(Some(ANSWER)).is_err() {
        return true;
    }
    let asked =
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    match asked.and_then(|()| stream.read(&mut [0])) {
        Ok(read) => read > 0,
        // A host that is slow to answer is still there.
        Err(error) => matches!(error.kind(), TimedOut | WouldBlock),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn place(dir: &Path) -> Place {
        let folder = dir.join("replug");
        fs::create_dir(&folder).unwrap();
        Place { socket: folder.join("host.sock"), folder: Some(folder) }
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
    fn a_socket_on_which_the_next_host_listens_is_left_alone() {
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
    fn a_folder_goes_with_the_last_socket_in_it_and_not_while_it_is_locked() {
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
        place.close();
        assert!(!folder.exists());
    }
}
