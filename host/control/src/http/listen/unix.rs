//! The Unix socket of a plugins folder. Its path is derived from the path of the folder, so that clients find the host.
//! Only the host's user can access it.

use super::{Api, Connection, Outgoing, Pool, converse};
use crate::http::{command::Who, config::ListenError};
use replug_runtime::sweeper::{self as sweep, Found, SocketPaths, Sweeper};
use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};
use std::{
    env,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::{UnixListener, UnixStream};

/// The maximum length of the path of a socket, in bytes.
const LONGEST: usize = 107;
/// The maximum number of concurrent connections from processes of this user.
const CONNECTIONS: usize = 128;

/// The default path of the socket of the host that serves `plugins_dir`, whether a host runs or not. The socket is in
/// `$XDG_RUNTIME_DIR/replug`. If there is no such folder, or if the path would be too long, it is in
/// `/tmp/replug-<uid>`. The name of the socket is derived from the path of `plugins_dir`.
pub fn socket_path(plugins_dir: &Path) -> PathBuf {
    let name = format!("{}.sock", name_of(plugins_dir));
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| is_mine(dir));
    let wanted = runtime.map(|dir| dir.join("replug").join(&name)).filter(|path| fits(path));
    wanted.unwrap_or_else(|| PathBuf::from(format!("/tmp/replug-{}", geteuid().as_raw())).join(name))
}

/// The name of the socket for a plugins folder, without an extension: a hash of the folder's path.
pub(super) fn name_of(plugins_dir: &Path) -> String {
    let folder = fs::canonicalize(plugins_dir).unwrap_or_else(|_| plugins_dir.to_owned());
    let hash = Sha256::digest(folder.as_os_str().as_bytes());
    hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn is_mine(dir: &Path) -> bool {
    dir.is_absolute() && fs::metadata(dir).is_ok_and(|it| it.is_dir() && it.uid() == geteuid().as_raw())
}

fn fits(path: &Path) -> bool {
    path.as_os_str().len() <= LONGEST
}

/// A listening socket.
pub(super) struct Unix {
    /// The file must be removed before the listener is dropped: while the listener exists, no other host uses the path.
    /// So this field comes before `listener`.
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
}

impl Unix {
    /// Binds the socket at `named`, or at the default path for `plugins_dir`. With a `program`, a process of this
    /// program removes the socket if the host is killed.
    pub(super) fn bind(
        named: Option<&Path>,
        plugins_dir: &Path,
        program: Option<&Path>,
    ) -> Result<Self, ListenError> {
        let path = named.map_or_else(|| socket_path(plugins_dir), Path::to_owned);
        if !fits(&path) {
            return Err(ListenError::TooLong { path });
        }
        let failed = ListenError::socket(&path);
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The folder of a configured path belongs to the user, so it is not removed.
        let place = SocketPaths { socket: path.clone(), folder: named.is_none().then(|| folder.to_owned()) };
        // The sweeper starts before the socket is created, so that it removes the socket no matter when the host is
        // killed.
        let sweeper = program.and_then(|program| sweeper(program, &place));
        // The lock makes hosts that start at the same time check the path one after another.
        let _lock = loop {
            private(folder, &failed)?;
            match sweep::lock(folder) {
                // Between these two calls, the last host with a socket in the folder has removed the folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                lock => break lock.map_err(&failed)?,
            }
        };
        if sweep::remove_dead(&path).map_err(&failed)? == Found::Host {
            return Err(ListenError::Taken { plugins: plugins_dir.to_owned(), socket: path });
        }
        let listener = UnixListener::bind(&path).map_err(&failed)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(&failed)?;
        let file = SocketFile::new(place, sweeper).map_err(&failed)?;
        Ok(Self { file, listener })
    }
}

fn sweeper(program: &Path, place: &SocketPaths) -> Option<Sweeper> {
    let started = Sweeper::start(program, place);
    let warn = |error: &io::Error| {
        let socket = place.socket.display();
        tracing::warn!(
            "cannot start the process that removes {socket} if this one is killed: {error}; in that case, the next host removes it"
        );
    };
    started.inspect_err(warn).ok()
}

/// Creates the folder of the socket, or checks that no other user can enter it.
fn private(folder: &Path, failed: &impl Fn(io::Error) -> ListenError) -> Result<(), ListenError> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    match open_to_others(folder).map_err(failed)? {
        Some(reason) => Err(ListenError::UnsafeFolder { path: folder.to_owned(), reason }),
        None => Ok(()),
    }
}

/// Why other users can enter a folder, or `None` if they cannot.
fn open_to_others(folder: &Path) -> io::Result<Option<String>> {
    // A link is not followed, because another user could create it in /tmp.
    let it = fs::symlink_metadata(folder)?;
    Ok(match (it.is_dir(), it.uid() == geteuid().as_raw(), it.mode() & 0o077) {
        (false, ..) => Some("it is not a folder".into()),
        (_, false, _) => Some(format!("it belongs to user {}", it.uid())),
        (.., 0) => None,
        _ => Some(format!("other users may enter it (mode {:o})", it.mode() & 0o777)),
    })
}

/// Why this process must not trust the listener of `socket`, to which it has connected: the listener belongs to another
/// user, or another user has access to the folder of the socket. Returns `None` if this process can trust the listener.
///
/// # Errors
///
/// If the folder cannot be read, or the user of the listener cannot be determined.
pub fn trust_problem(socket: &Path, connected: &UnixStream) -> io::Result<Option<String>> {
    let folder = socket.parent().unwrap_or(socket);
    if let Some(reason) = open_to_others(folder)? {
        return Ok(Some(format!("its folder {} is open to other users: {reason}", folder.display())));
    }
    let owner = connected.peer_cred()?.uid();
    let is_trusted = owner == 0 || owner == geteuid().as_raw();
    Ok((!is_trusted).then(|| format!("user {owner} listens there")))
}

/// The file of a socket. Dropping this value removes the file, unless another host has replaced it.
pub(super) struct SocketFile {
    place: SocketPaths,
    identity: Identity,
    /// The sweeper process. It is killed when this field is dropped, after the file was removed.
    _sweeper: Option<Sweeper>,
}

/// The device, the inode number, and the mtime in seconds and nanoseconds. Inode numbers are reused soon, so a number
/// alone does not identify the file.
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    fn new(place: SocketPaths, sweeper: Option<Sweeper>) -> io::Result<Self> {
        let identity = Self::identity(&place.socket)?;
        Ok(Self { place, identity, _sweeper: sweeper })
    }

    pub(super) fn path(&self) -> &Path {
        &self.place.socket
    }

    fn identity(path: &Path) -> io::Result<Identity> {
        fs::symlink_metadata(path).map(|it| (it.dev(), it.ino(), it.mtime(), it.mtime_nsec()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if Self::identity(&self.place.socket).is_ok_and(|identity| identity == self.identity) {
            // If the file cannot be removed now, the next host removes it.
            let _ = fs::remove_file(&self.place.socket);
        }
        self.place.close();
    }
}

/// Accepts connections, forever.
pub(super) async fn accept(listener: UnixListener, api: Arc<Api>) {
    let pool = Pool::new(CONNECTIONS);
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                super::tcp::back_off("the socket", &error).await;
                continue;
            }
        };
        // If the credentials are not available, the user is unknown, and the connection is closed.
        let Ok(peer) = stream.peer_cred() else { continue };
        let who = Who::Process { uid: peer.uid(), pid: peer.pid() };
        if let Some(place) = pool.admit(Connection::new(who, None)) {
            let stream = Outgoing::new(stream, &place.connection);
            tokio::spawn(converse(stream, place, api.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(dir: &Path) -> Result<Unix, ListenError> {
        Unix::bind(Some(&dir.join("private/host.sock")), Path::new("/plugins"), None)
    }

    #[tokio::test]
    async fn a_socket_is_private_to_this_user_and_removed_with_its_host() {
        let dir = tempfile::tempdir().unwrap();
        let unix = bind(dir.path()).unwrap();
        let path = unix.file.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
        let second = bind(dir.path()).err().unwrap().to_string();
        assert!(second.starts_with("a host already serves /plugins"), "{second}");
        drop(unix);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn bind_replaces_a_dead_hosts_socket_and_a_late_drop_keeps_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let Unix { listener, file } = bind(dir.path()).unwrap();
        drop(listener);
        let next = bind(dir.path()).unwrap();
        drop(file);
        assert!(next.file.path().exists(), "dropping the first file does not remove the second host's");
    }

    #[tokio::test]
    async fn bind_rejects_a_shared_folder_a_non_socket_and_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("private");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        assert!(bind(dir.path()).is_err_and(|error| error.to_string().contains("other users may enter it")));
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.join("host.sock"), "precious").unwrap();
        assert!(bind(dir.path()).is_err_and(|error| error.to_string().contains("not a socket")));
        assert_eq!(fs::read_to_string(folder.join("host.sock")).unwrap(), "precious");
        let long = PathBuf::from(format!("/tmp/{}", "x".repeat(LONGEST)));
        assert!(matches!(Unix::bind(Some(&long), Path::new("/p"), None), Err(ListenError::TooLong { .. })));
    }
}
