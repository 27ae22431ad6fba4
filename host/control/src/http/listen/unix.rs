//! The Unix socket of a plugins folder: always at the same path, so that every client that knows the folder finds the
//! host, and open to one user only.

use super::{Api, Connection, Pool, converse};
use crate::http::{command::Who, config::ListenError};
use replug_runtime::sweeper::{self as sweep, Found, Place, Sweeper};
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

/// The longest path that a socket can have, in bytes.
const LONGEST: usize = 107;
/// The maximum number of concurrent connections from processes of this user.
const CONNECTIONS: usize = 128;

/// Where the host of a plugins folder listens, whether it runs or not: in `$XDG_RUNTIME_DIR/replug`, or, if there is no
/// such folder or the path would be too long, in `/tmp/replug-<uid>`. The name of the socket is made from the folder's
/// path.
pub fn socket_path(plugins_dir: &Path) -> PathBuf {
    let name = format!("{}.sock", name_of(plugins_dir));
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| is_mine(dir));
    let wanted = runtime.map(|dir| dir.join("replug").join(&name)).filter(|path| fits(path));
    wanted.unwrap_or_else(|| PathBuf::from(format!("/tmp/replug-{}", geteuid().as_raw())).join(name))
}

/// The name of the socket for a plugins folder, made from the folder's path.
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
    /// This field is dropped before the listener: while the listener exists, no other host takes the path.
    pub(super) file: SocketFile,
    pub(super) listener: UnixListener,
}

impl Unix {
    /// Listens for the host of a plugins folder: where its configuration says, or at the folder's own path. The
    /// program, if given, removes the socket if the host is killed.
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
        // If the path is configured, its folder is not removed: it belongs to the user.
        let place = Place { socket: path.clone(), folder: named.is_none().then(|| folder.to_owned()) };
        // The sweeper starts before there is a socket to remove.
        let sweeper = program.and_then(|program| sweeper(program, &place));
        // Two hosts that start at the same time check one after the other.
        let _lock = loop {
            private(folder, &failed)?;
            match sweep::lock(folder) {
                // Another host was the last one in the folder, and has removed the folder just now.
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

fn sweeper(program: &Path, place: &Place) -> Option<Sweeper> {
    let started = Sweeper::start(program, place);
    let warn = |error: &io::Error| {
        let socket = place.socket.display();
        tracing::warn!(
            "cannot start the process that removes {socket} if this one is killed: {error}; the next host removes it then"
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

/// Why other users can enter a folder; `None` if they cannot.
fn open_to_others(folder: &Path) -> io::Result<Option<String>> {
    // A link is not followed: in /tmp, it could point anywhere.
    let it = fs::symlink_metadata(folder)?;
    Ok(match (it.is_dir(), it.uid() == geteuid().as_raw(), it.mode() & 0o077) {
        (false, ..) => Some("it is not a folder".into()),
        (_, false, _) => Some(format!("it belongs to user {}", it.uid())),
        (.., 0) => None,
        _ => Some(format!("other users may enter it (mode {:o})", it.mode() & 0o777)),
    })
}

/// Why this process must not trust the listener of a socket that it has connected to: the listener may belong to
/// another user. `None` if it belongs to this user or to root.
///
/// # Errors
///
/// If the user of the listener cannot be determined.
pub fn distrust(socket: &Path, connected: &UnixStream) -> io::Result<Option<String>> {
    let folder = socket.parent().unwrap_or(socket);
    if let Some(reason) = open_to_others(folder)? {
        return Ok(Some(format!("its folder {} is open to other users: {reason}", folder.display())));
    }
    let owner = connected.peer_cred()?.uid();
    let is_trusted = owner == 0 || owner == geteuid().as_raw();
    Ok((!is_trusted).then(|| format!("user {owner} listens there")))
}

/// The file of a socket. It is removed when this is dropped, unless it belongs to another host by then.
pub(super) struct SocketFile {
    place: Place,
    identity: Identity,
    /// The sweeper, which is killed when all files are removed.
    _sweeper: Option<Sweeper>,
}

/// Device, inode and creation time in seconds and nanoseconds: an inode number alone is soon used again.
type Identity = (u64, u64, i64, i64);

impl SocketFile {
    fn new(place: Place, sweeper: Option<Sweeper>) -> io::Result<Self> {
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

/// Accepts connections, for ever.
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
        // Without credentials, the user is unknown.
        let Ok(peer) = stream.peer_cred() else { continue };
        let who = Who::Process { uid: peer.uid(), pid: peer.pid() };
        if let Some(place) = pool.admit(Connection::new(who, None)) {
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
    async fn a_socket_is_this_user_s_alone_and_gone_with_its_host() {
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
    async fn a_socket_that_a_dead_host_left_is_replaced_and_another_s_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let Unix { listener, file } = bind(dir.path()).unwrap();
        drop(listener);
        let next = bind(dir.path()).unwrap();
        drop(file);
        assert!(next.file.path().exists(), "the late end of the first does not remove the second's");
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
