//! The TCP listener. It always requires a token, and requires TLS for an address that other machines can reach.

use super::{Api, Connection, Outgoing, Pool, TcpChecks, TokenFile, converse};
use crate::http::{
    command::Who,
    config::{HttpConfig, ListenError},
    token::{KeptToken, Token},
};
use std::{io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpListener;

/// The maximum number of concurrent connections. It is far below the usual limit on open descriptors, because the host
/// needs descriptors itself.
const CONNECTIONS: usize = 256;
/// How long to wait after a failed accept, for example when the process has no free descriptor.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// A listening port.
pub(super) struct Tcp {
    listener: TcpListener,
    pub(super) address: SocketAddr,
    allowed_hosts: Vec<String>,
    token: Token,
    file: std::path::PathBuf,
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsAcceptor>,
    scheme: &'static str,
}

impl Tcp {
    /// Binds the listener. With port 0, uses the port of the previous host, if that port is free.
    pub(super) async fn bind(
        config: &HttpConfig,
        state_dir: &Path,
        last: Option<SocketAddr>,
    ) -> Result<Self, ListenError> {
        let address = config.address;
        if config.tls.is_none() && !address.ip().is_loopback() {
            return Err(ListenError::NeedsTls { address });
        }
        #[cfg(feature = "tls")]
        let tls = config.tls.as_ref().map(super::tls::acceptor).transpose()?;
        #[cfg(not(feature = "tls"))]
        if config.tls.is_some() {
            return Err(ListenError::NoTls);
        }
        let failed = |source| ListenError::Tcp { address, source };
        let again = last.filter(|last| address.port() == 0 && last.ip() == address.ip());
        let again = match again {
            Some(last) => TcpListener::bind(last).await.ok(),
            None => None,
        };
        let listener = match again {
            Some(listener) => listener,
            None => TcpListener::bind(address).await.map_err(failed)?,
        };
        let address = listener.local_addr().map_err(failed)?;
        let file = config.token_file.clone().unwrap_or_else(|| state_dir.join("http-token"));
        Ok(Self {
            listener,
            address,
            allowed_hosts: config.allowed_hosts.clone(),
            token: Token::at(&file)?,
            file,
            #[cfg(feature = "tls")]
            tls,
            scheme: if config.tls.is_some() { "https" } else { "http" },
        })
    }

    pub(super) fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    pub(super) fn token(&self) -> TokenFile {
        TokenFile { path: self.file.clone(), new: self.token.is_new.then(|| self.token.text.clone()) }
    }

    pub(super) fn kept_token(&self) -> KeptToken {
        KeptToken::new(self.file.clone(), &self.token)
    }

    pub(super) fn checks(&self) -> TcpChecks {
        TcpChecks {
            token: self.token.text.clone(),
            allowed_hosts: self.allowed_hosts.clone(),
            scheme: self.scheme,
        }
    }

    /// Accepts connections, forever.
    pub(super) async fn accept(self, api: Arc<Api>) {
        let pool = Pool::new(CONNECTIONS);
        loop {
            let (stream, remote) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    back_off("the port", &error).await;
                    continue;
                }
            };
            // An answer is one write, so Nagle's algorithm would only delay it.
            let _ = stream.set_nodelay(true);
            let local = stream.local_addr().ok().map(|address| address.ip());
            let Some(place) = pool.admit(Connection::new(Who::Remote(remote), local)) else { continue };
            let stream = Outgoing::new(stream, &place.connection);
            #[cfg(feature = "tls")]
            if let Some(tls) = &self.tls {
                tokio::spawn(super::tls::converse(tls.accept(stream), place, api.clone()));
                continue;
            }
            tokio::spawn(converse(stream, place, api.clone()));
        }
    }
}

/// Logs that a connection cannot be accepted now, and waits. The connection stays in the backlog.
pub(super) async fn back_off(what: &str, error: &io::Error) {
    tracing::warn!("{what} of the control plane cannot accept a connection: {error}");
    tokio::time::sleep(ACCEPT_BACKOFF).await;
}
