//! The configuration of the control plane, and the errors of its listeners.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where the control plane listens, and its limits.
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
    /// The default address of `--http`.
    pub const DEFAULT_HTTP: &'static str = "127.0.0.1:7777";
    /// The default number of concurrent calls over HTTP.
    pub const DEFAULT_CALLS: usize = 64;
    /// The default time limit of a call over HTTP, if neither the plugin's manifest nor the program sets one.
    pub const DEFAULT_CALL_DEADLINE: Duration = Duration::from_secs(30);

    /// A configuration with only the Unix socket.
    pub fn new() -> Self {
        Self {
            socket: None,
            http: None,
            calls: Self::DEFAULT_CALLS,
            call_deadline: Self::DEFAULT_CALL_DEADLINE,
        }
    }

    /// Sets the path of the Unix socket: at most 107 bytes, in a folder that only this user can enter.
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

    /// Sets how many calls over HTTP may run at the same time, each on a thread of its own. Further calls are answered
    /// with status 429.
    #[must_use]
    pub fn calls(mut self, count: usize) -> Self {
        self.calls = count;
        self
    }

    /// Sets the time limit of a call over HTTP, if the plugin's manifest does not set `call_timeout`. A call that takes
    /// longer is answered with status 504. A call in process continues after that.
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
    /// Serves HTTP at this address. With port 0, the host uses the port of the previous host, if that port is free, or
    /// else any free port. An address that other machines can reach needs [TLS](HttpConfig::tls).
    pub fn at(address: SocketAddr) -> Self {
        Self { address, token_file: None, allowed_hosts: Vec::new(), tls: None }
    }

    /// Sets the file of the token, which is created with mode 0600 if it does not exist. Default: `http-token` in the
    /// state folder.
    #[must_use]
    pub fn token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.token_file = Some(file.into());
        self
    }

    /// Allows one more name in the `Host` header, in addition to `localhost` and the address itself. For a proxy that
    /// terminates TLS in front of this host, give the origin of the proxy, such as `https://box.example`. Pages of that
    /// origin are then allowed, too.
    #[must_use]
    pub fn allow_host(mut self, name: impl Into<String>) -> Self {
        self.allowed_hosts.push(name.into());
        self
    }

    /// Serves HTTPS with this certificate chain and this private key, both PEM files.
    #[must_use]
    pub fn tls(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.tls = Some(TlsConfig { certificate: certificate.into(), key: key.into() });
        self
    }
}

/// The files of the certificate and its key.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "without the feature, TLS is rejected without reading the files")
)]
pub(super) struct TlsConfig {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

/// Why the control plane cannot listen.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Another host serves the folder.
    #[error(
        "a host already serves {plugins}: stop it first, or send commands to it (such as `replug status {plugins}`); its socket is {socket}"
    )]
    Taken {
        /// The plugins folder.
        plugins: PathBuf,
        /// The socket of that host.
        socket: PathBuf,
    },
    /// The lock file of the folder cannot be locked.
    #[error(
        "cannot lock {path}, which marks a running host: {source}; make this user the owner of the state folder"
    )]
    Claim {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The path of the socket is too long.
    #[error("{path} is longer than 107 bytes, the limit for the path of a socket: choose a shorter one")]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Other users can enter the folder of the socket.
    #[error("{path} is not a safe folder for a socket: {reason}; make it yours with mode 0700, or remove it")]
    UnsafeFolder {
        /// The folder.
        path: PathBuf,
        /// Why the folder is not safe: its owner, or its mode.
        reason: String,
    },
    /// The socket cannot be created.
    #[error(
        "cannot listen on the socket {path}: {source}; set XDG_RUNTIME_DIR to a folder that you own and can write to"
    )]
    Socket {
        /// The socket.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The address cannot be used.
    #[error(
        "cannot listen on {address}: {source}; choose a different one with `--http ADDR`, or port 0 for a free one"
    )]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// Other machines could reach the address without encryption.
    #[error(
        "other machines can reach {address}, and the token would cross the network unencrypted: give `--tls-cert` and `--tls-key`, or listen on 127.0.0.1"
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
        /// The content that the file should have.
        what: &'static str,
        /// Why the file cannot be used.
        reason: String,
    },
    /// The token file cannot be written or read.
    #[error("cannot use the token file {path}: {reason}")]
    Token {
        /// The file.
        path: PathBuf,
        /// The reason, and what to do.
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
