//! TLS for the TCP listener.

use super::{Api, Outgoing, Place};
use crate::http::config::{ListenError, TlsConfig};
use std::{fmt::Display, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::{
    Accept, TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Reads the certificate and its key.
pub(super) fn acceptor(config: &TlsConfig) -> Result<TlsAcceptor, ListenError> {
    const CHAIN: &str = "certificate chain, this host's own certificate first";
    const KEY: &str = "private key";
    let refused = |file: &Path, what: &'static str, reason: &dyn Display| ListenError::Tls {
        file: file.to_owned(),
        what,
        reason: reason.to_string(),
    };
    let chain = CertificateDer::pem_file_iter(&config.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| refused(&config.certificate, CHAIN, &error))?;
    if chain.is_empty() {
        return Err(refused(&config.certificate, CHAIN, &"it holds no certificate"));
    }
    let key = PrivateKeyDer::from_pem_file(&config.key).map_err(|error| refused(&config.key, KEY, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&config.certificate, CHAIN, &error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| refused(&config.certificate, CHAIN, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Performs the handshake, and serves the connection.
pub(super) async fn converse(greeting: Accept<Outgoing<TcpStream>>, place: Place, api: Arc<Api>) {
    let stream = tokio::select! {
        greeted = tokio::time::timeout(HANDSHAKE_TIME, greeting) => greeted,
        () = place.needed() => return,
    };
    // If the handshake fails or times out, the connection is closed.
    if let Ok(Ok(stream)) = stream {
        super::converse(stream, place, api).await;
    }
}
