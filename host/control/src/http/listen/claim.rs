//! Ensures that only one host with a given state folder serves a plugins folder, and records where the host listens, so
//! that clients find it independently of their environment.
//!
//! The path of the socket depends on `XDG_RUNTIME_DIR`, which may differ, for example, between a shell and cron. A
//! second host with a different value would look for the socket at another path, find none, and start. So each host
//! also keeps a file in its state folder locked while it runs. It writes up to four lines into the file: the parent
//! process that restarts it after a crash, the path of its socket, its plugins folder, and its address for HTTP. The
//! kernel releases the lock when the process exits. The content of an unlocked file is ignored, with two exceptions.
//! First, a host with port 0 uses the port of the previous host, if the IP address is the same and the port is free.
//! Second, if the parent process in the file still runs, it is about to start the next host. A host that stops without
//! a crash removes the line of the parent process.

use super::{FoundHost, unix::name_of};
use crate::http::config::ListenError;
use replug_runtime::parent;
use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
    process::geteuid,
};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, Write},
    net::SocketAddr,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long to retry the lock. A client that only checks whether the file is locked may hold the lock for a moment.
const RETRY_TIME: Duration = Duration::from_millis(200);

/// The beginning of the line with the parent process.
const PARENT: &str = "parent ";

/// The maximum number of bytes that are read from the file.
const LONGEST: u64 = 4096;

/// The claim of this host on a plugins folder. Dropping this value ends the claim.
pub(super) struct Claim {
    file: File,
    path: PathBuf,
    plugins: PathBuf,
    /// The content of the file, without the line of the parent process.
    content: Vec<u8>,
    /// The address at which the previous host listened over TCP.
    pub(super) last_http: Option<SocketAddr>,
}

impl Claim {
    /// Claims `plugins_dir` for a host with the state folder `state_dir`.
    pub(super) fn of(plugins_dir: &Path, state_dir: &Path) -> Result<Self, ListenError> {
        Self::at(path(plugins_dir, state_dir), plugins_dir)
    }

    fn at(path: PathBuf, plugins_dir: &Path) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Claim { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.custom_flags(flags()).open(&path).map_err(failed)?;
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if began.elapsed() < RETRY_TIME => thread::sleep(RETRY_TIME / 50),
                Err(Errno::WOULDBLOCK) => {
                    let socket = read(&file).unwrap_or_else(|| path.clone());
                    return Err(ListenError::Taken { plugins: plugins_dir.to_owned(), socket });
                }
                Err(error) => return Err(failed(error.into())),
            }
        }
        let last_http = lines(&file).find_map(|line| str::from_utf8(&line).ok()?.parse().ok());
        // The file may still name the socket of the previous host.
        file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
        if let Some(supervisor) = parent::supervisor() {
            file.write_all(format!("{PARENT}{supervisor}\n").as_bytes()).map_err(failed)?;
        }
        // Links in the path are not resolved here, but by `look_in`: a link may be changed while the host runs, and the
        // host then uses its new target.
        let plugins = std::path::absolute(plugins_dir).unwrap_or_else(|_| plugins_dir.to_owned());
        Ok(Self { file, path, plugins, content: Vec::new(), last_http })
    }

    /// Claims the folder again if the file was removed or replaced, so that clients find the host, and no second host
    /// serves the folder. Returns whether that was so.
    pub(super) fn renew(&mut self) -> Result<bool, ListenError> {
        let identity = |it: fs::Metadata| (it.dev(), it.ino());
        let open = self.file.metadata().map(identity).map_err(|source| self.failed(source))?;
        if fs::symlink_metadata(&self.path).map(identity).is_ok_and(|there| there == open) {
            return Ok(false);
        }
        let mut new = Self::at(self.path.clone(), &self.plugins)?;
        new.write(&self.content)?;
        *self = new;
        Ok(true)
    }

    /// Records the path of the host's socket, and the plugins folder.
    pub(super) fn record_socket(&mut self, socket: &Path) -> Result<(), ListenError> {
        let socket = std::path::absolute(socket).map_err(|source| self.failed(source))?;
        let lines =
            [socket.as_os_str().as_bytes(), b"\n", self.plugins.as_os_str().as_bytes(), b"\n"].concat();
        self.write(&lines)
    }

    /// Records the host's TCP address, in the last line.
    pub(super) fn record_http(&mut self, address: SocketAddr) -> Result<(), ListenError> {
        self.write(format!("{address}\n").as_bytes())
    }

    fn write(&mut self, lines: &[u8]) -> Result<(), ListenError> {
        self.content.extend_from_slice(lines);
        self.file.write_all(lines).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: io::Error) -> ListenError {
        ListenError::Claim { path: self.path.clone(), source }
    }
}

impl Drop for Claim {
    /// Removes the line of the parent process: this host stops, and does not crash.
    fn drop(&mut self) {
        // If this fails, clients wait for a host for as long as the parent process runs, but not longer than their own
        // time limit.
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        let _ = emptied.and_then(|()| self.file.write_all(&self.content));
    }
}

/// Whether `plugins_dir` has a host of this user that listens or will listen soon: a process has claimed the folder, or
/// the last host has crashed and its parent process is about to restart it.
pub(super) fn is_coming(plugins_dir: &Path, state_dir: &Path) -> bool {
    let path = path(plugins_dir, state_dir);
    if held(&path).is_some() {
        return true;
    }
    let first = own(&path).and_then(|file| lines(&file).next());
    let first = first.and_then(|line| String::from_utf8(line).ok()).unwrap_or_default();
    first.strip_prefix(PARENT).is_some_and(parent::supervises)
}

/// The socket of the host that serves `plugins_dir` with the state folder `state_dir`, if this user runs such a host.
pub(super) fn look_up(plugins_dir: &Path, state_dir: &Path) -> Option<PathBuf> {
    read(&held(&path(plugins_dir, state_dir))?)
}

/// The user whose host serves `plugins_dir`, if that is not the user of this process. This process cannot open the file
/// of another user, but `/proc/locks` shows whether the file is locked.
pub(super) fn other_owner(plugins_dir: &Path, state_dir: &Path) -> Option<u32> {
    let file = fs::symlink_metadata(path(plugins_dir, state_dir)).ok()?;
    let is_others = file.is_file() && file.uid() != geteuid().as_raw();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    // `3: FLOCK  ADVISORY  WRITE 4711 fd:00:1234567 0 EOF`. Only the inode is compared, because for some file systems,
    // the device here is not the one that `stat` returns.
    let inode = format!(":{}", file.ino());
    let is_held = || {
        locks.lines().any(|line| line.contains(" FLOCK ") && line.split(' ').any(|it| it.ends_with(&inode)))
    };
    (is_others && is_held()).then_some(file.uid())
}

/// The running hosts of this user whose state folders are in the folder `states`.
pub(super) fn look_below(states: &Path) -> Vec<FoundHost> {
    entries(states).flat_map(|state| look_in(&state)).collect()
}

/// The running hosts of this user with the state folder `state_dir`.
pub(super) fn look_in(state_dir: &Path) -> Vec<FoundHost> {
    let found = entries(&state_dir.join("hosts")).filter_map(|path| {
        let file = held(&path)?;
        let mut lines = lines(&file).filter(|line| line.starts_with(b"/"));
        let mut next = || Some(PathBuf::from(OsString::from_vec(lines.next()?)));
        Some(FoundHost { socket: next()?, plugins: resolved(&next()?) })
    });
    found.collect()
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// The file of a claim, if a host of this user holds its lock.
fn held(path: &Path) -> Option<File> {
    let is_held = |file: &File| flock(file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK);
    own(path).filter(is_held)
}

/// The file of a claim, if it belongs to this user. A file of another user could lead to a socket of that user.
fn own(path: &Path) -> Option<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags()).open(path).ok()?;
    let is_mine = file.metadata().is_ok_and(|it| it.is_file() && it.uid() == geteuid().as_raw());
    is_mine.then_some(file)
}

fn path(plugins_dir: &Path, state_dir: &Path) -> PathBuf {
    state_dir.join("hosts").join(name_of(plugins_dir))
}

fn resolved(folder: &Path) -> PathBuf {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned())
}

/// The flags for opening the file: no symbolic link is followed, and opening a named pipe does not block.
fn flags() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

/// The path of the socket in the file, or `None` if the host has not written it yet.
fn read(file: &File) -> Option<PathBuf> {
    let line = lines(file).find(|line| line.starts_with(b"/"))?;
    Some(OsString::from_vec(line).into())
}

/// The complete lines of the file.
fn lines(file: &File) -> impl Iterator<Item = Vec<u8>> {
    let mut text = Vec::new();
    // An unreadable file counts as empty.
    let _: io::Result<usize> = file.take(LONGEST).read_to_end(&mut text);
    let whole: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    whole.into_iter().filter_map(|line| Some(line.strip_suffix(b"\n")?.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_claim_of_a_folder_fails_and_names_the_first_socket() {
        let dir = tempfile::tempdir().unwrap();
        let plugins = Path::new("/plugins");
        assert_eq!(look_up(plugins, dir.path()), None);
        let mut claim = Claim::of(plugins, dir.path()).unwrap();
        assert_eq!(look_up(plugins, dir.path()), None, "the host does not listen yet");
        claim.record_socket(Path::new("/run/a.sock")).unwrap();
        assert_eq!(look_up(plugins, dir.path()), Some("/run/a.sock".into()));
        assert_eq!(look_up(Path::new("/others"), dir.path()), None);
        let error = Claim::of(plugins, dir.path()).err().unwrap().to_string();
        assert!(
            error.starts_with("a host already serves /plugins") && error.ends_with("/run/a.sock"),
            "{error}"
        );
        Claim::of(Path::new("/others"), dir.path()).unwrap();
    }

    #[test]
    fn look_below_finds_the_hosts_of_all_state_folders_in_a_folder() {
        let states = tempfile::tempdir().unwrap();
        let (state, gone) = (states.path().join("plugins-1"), states.path().join("plugins-2"));
        let mut claim = Claim::of(Path::new("/a/plugins"), &state).unwrap();
        assert_eq!(look_below(states.path()), [], "the host does not listen yet");
        claim.record_socket(Path::new("/run/a.sock")).unwrap();
        fs::create_dir_all(gone.join("hosts")).unwrap();
        fs::write(gone.join("hosts/x"), "/run/b.sock\n/b/plugins\n").unwrap();
        let found = FoundHost { socket: "/run/a.sock".into(), plugins: "/a/plugins".into() };
        assert_eq!(look_below(states.path()), [found]);
        assert_eq!(look_below(Path::new("/nowhere")), []);
    }

    #[test]
    fn renew_recreates_a_removed_claim_file_with_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, state) = (Path::new("/plugins"), dir.path().join("state"));
        let mut claim = Claim::of(plugins, &state).unwrap();
        claim.record_socket(Path::new("/run/a.sock")).unwrap();
        for _ in 0..2 {
            fs::remove_dir_all(&state).unwrap();
            claim.renew().unwrap();
            claim.renew().unwrap();
            assert_eq!(look_up(plugins, &state), Some("/run/a.sock".into()));
            assert!(Claim::of(plugins, &state).is_err(), "the folder has a host");
        }
    }

    #[test]
    fn a_host_is_coming_while_it_starts_and_while_its_parent_restarts_it() {
        let dir = tempfile::tempdir().unwrap();
        let plugins = Path::new("/plugins");
        assert!(!is_coming(plugins, dir.path()));
        let mut claim = Claim::of(plugins, dir.path()).unwrap();
        assert!(is_coming(plugins, dir.path()));
        claim.record_socket(Path::new("/run/a.sock")).unwrap();
        drop(claim);
        let file = path(plugins, dir.path());
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let started = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
        for (parent, coming) in [(std::process::id(), true), (i32::MAX.unsigned_abs(), false)] {
            fs::write(&file, format!("parent {parent} {started}\n/run/a.sock\n/plugins\n")).unwrap();
            // A child process that another test has just forked also holds the lock until it executes its program.
            while held(&file).is_some() {}
            assert_eq!(is_coming(plugins, dir.path()), coming, "{parent}");
        }
        drop(Claim::of(plugins, dir.path()).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "", "a host that stops does not come back");
    }

    #[test]
    fn look_up_ignores_the_claim_of_a_stopped_host() {
        let dir = tempfile::tempdir().unwrap();
        let plugins = Path::new("/plugins");
        let mut claim = Claim::of(plugins, dir.path()).unwrap();
        claim.record_socket(Path::new("/run/a.sock")).unwrap();
        claim.record_http(([127, 0, 0, 1], 1234).into()).unwrap();
        assert_eq!(look_up(plugins, dir.path()), Some("/run/a.sock".into()));
        drop(claim);
        // A child process that another test has just forked also holds the lock until it executes its program.
        let file = File::open(path(plugins, dir.path())).unwrap();
        while look_up(plugins, dir.path()).is_some() {
            flock(&file, FlockOperation::LockShared).unwrap();
            flock(&file, FlockOperation::Unlock).unwrap();
        }
        let mut claim = Claim::of(plugins, dir.path()).unwrap();
        assert_eq!(
            claim.last_http,
            Some(([127, 0, 0, 1], 1234).into()),
            "the next host may use the same port"
        );
        assert_eq!(look_up(plugins, dir.path()), None, "the next host has not recorded its socket yet");
        claim.record_socket(Path::new("/run/b.sock")).unwrap();
        assert_eq!(look_up(plugins, dir.path()), Some("/run/b.sock".into()));
        drop(claim);
    }
}
