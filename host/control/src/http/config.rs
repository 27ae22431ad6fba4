//! What the control plane is told before it listens, and why it cannot.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the control plane listens, and how much it takes on.
///
/// By default it listens on the [Unix socket](crate::socket_path) of the plugins folder, and nowhere else.
#[derive(Clone, Debug)]
pub struct ControlConfig {
    pub(super) socket: Option<PathBuf>,
    pub(super) http: Option<HttpConfig>,
    pub(super) calls: usize,
    pub(super) call_deadline: Duration,
}

impl ControlConfig {
    /// The address at which `--http` listens unless it is told another.
    pub const DEFAULT_HTTP: &'static str = "127.0.0.1:7777";
    /// How many calls by HTTP may run at the same time, unless it is told otherwise.
    pub const DEFAULT_CALLS: usize = 64;
    /// How long a call by HTTP may take, unless the plugin's manifest or the program says otherwise.
    pub const DEFAULT_CALL_DEADLINE: Duration = Duration::from_secs(30);

    /// The Unix socket alone.
    pub fn new() -> Self {
        Self {
            socket: None,
            http: None,
            calls: Self::DEFAULT_CALLS,
            call_deadline: Self::DEFAULT_CALL_DEADLINE,
        }
    }

    /// Another path for the Unix socket, of at most 107 bytes, in a folder that only this user can enter.
    #[must_use]
    pub fn socket(mut self, path: impl Into<PathBuf>) -> Self {
        self.socket = Some(path.into());
        self
    }

    /// Serves HTTP over TCP, too.
    #[must_use]
    pub fn http(mut self, http: HttpConfig) -> Self {
        self.http = Some(http);
        self
    }

    /// How many calls by HTTP may run at the same time, each on a thread of its own. Further ones are answered with 429.
    #[must_use]
    pub fn calls(mut self, count: usize) -> Self {
        self.calls = count;
        self
    }

    /// How long a call by HTTP may take where the plugin's manifest does not say `call_timeout`. Then it is answered with
    /// 504; in process, the call itself goes on.
    #[must_use]
    pub fn call_deadline(mut self, deadline: Duration) -> Self {
        self.call_deadline = deadline;
        self
    }
}

impl Default for ControlConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// How HTTP is served over TCP.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    pub(super) address: SocketAddr,
    pub(super) token_file: Option<PathBuf>,
    pub(super) allowed_hosts: Vec<String>,
    pub(super) tls: Option<TlsConfig>,
}

impl HttpConfig {
    /// At this address; port 0 takes one that is free, if it can the one that the last host had. One that other machines reach needs [TLS](HttpConfig::tls).
    pub fn at(address: SocketAddr) -> Self {
        Self { address, token_file: None, allowed_hosts: Vec::new(), tls: None }
    }

    /// Where the token is kept; made with mode 0600 if it is not there. Default: `http-token` in the state folder.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// One more name that the `Host` header may have, beside `localhost` and the address itself; or, for a proxy that ends
    /// TLS before this host, its whole origin, such as `https://box.example`, which pages then may come from, too.
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.allowed_hosts.push(name.into());
        self
    }

    /// The certificate chain and the private key, both as PEM files, for HTTPS.
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsConfig { certificate: certificate.into(), key: key.into() });
        self
    }
}

/// Where the certificate and its key are.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), expect(dead_code, reason = "without the feature, TLS is refused unread"))]
pub(super) struct TlsConfig {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// The control plane cannot listen.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another host serves the folder.
    #[error(
        "a host already serves {plugins}: stop it first, or talk to it (`replug status {plugins}`); its socket is {socket}"
    )]
    Taken {
        /// The plugins folder.
        plugins: PathBuf,
        /// The socket at which it answers.
        socket: PathBuf,
    },
    /// The file that says that the folder has a host cannot be had.
    #[error(
        "cannot lock {path}, which says that a host is there: {source}; make the state folder this user's"
    )]
    Claim {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path of the socket is too long for one.
    #[error("{path} is longer than the 107 bytes that the path of a socket may have: choose a shorter one")]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The folder of the socket is not this user's alone.
    #[error("{path} is no safe place for a socket: {reason}; make it yours with mode 0700, or remove it")]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// Whose it is, or who else may enter.
        reason: String,
    },
    /// The socket cannot be made.
    #[error(
        "cannot listen on the socket {path}: {source}; set XDG_RUNTIME_DIR to a folder of yours that can be written"
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The address cannot be had.
    #[error(
        "cannot listen on {address}: {source}; choose another with `--http ADDR`, port 0 for one that is free"
    )]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Other machines would reach it unencrypted.
    #[error(
        "{address} can be reached from other machines, which would send the token for all to read: give `--tls-cert` and `--tls-key`, or listen on 127.0.0.1"
    )]
    NeedsTls {
        /// The address.
        address: SocketAddr,
    },
    /// The program was built without TLS.
    #[error("this program was built without TLS: build replug with `--features tls`")]
    NoTls,
    /// The certificate or the key cannot be used.
    #[error("{file}: {reason}; give a PEM file with a {what}")]
    Tls {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// Why it cannot be used.
        reason: String,
    },
    /// The token cannot be kept, or read.
    #[error("cannot use the token file {path}: {reason}")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
}

replug_model::readable::readable!(ListenError);

impl ListenError {
    pub(super) fn socket(path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Socket { path: path.clone(), source }
    }
}
