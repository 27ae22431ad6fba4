//! The HTTP flags of `dev` and `run`, and the message with the address at which HTTP is served.

use super::{
    args,
    error::CliError,
    terminal::{self, DIM, NAME},
};
use clap::Args;
use replug::{
    HttpSettings, Layers, TlsFiles,
    control::{ControlConfig, HttpConfig, Listening},
};
use std::{net::SocketAddr, path::PathBuf};

/// The HTTP flags.
#[derive(Debug, Args)]
#[command(next_help_heading = "HTTP API")]
pub(super) struct Http {
    /// Serve the HTTP API and the page at this address or port [default: 127.0.0.1:7777; port 0 uses a free port]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = ControlConfig::DEFAULT_HTTP)]
    http: Option<String>,
    /// The file that holds the token; created if missing [default: http-token in the state folder]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Allow a further Host header; behind a proxy that terminates TLS, https://NAME
    #[arg(long, value_name = "NAME")]
    allow_host: Vec<String>,
    /// The certificate chain for HTTPS, as PEM; needed to listen beyond this machine
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, as PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

impl Http {
    /// Adds these flags to the configuration.
    pub(super) fn over(&self, mut layers: Layers) -> Result<Layers, CliError> {
        if let Some(address) = &self.http {
            layers = layers.flag("http.listen", "--http", parsed(address)?.to_string());
        }
        let paths = [
            ("http.token_file", "--token-file", &self.token_file),
            ("http.tls_cert", "--tls-cert", &self.tls_cert),
            ("http.tls_key", "--tls-key", &self.tls_key),
        ];
        for (key, flag, path) in paths {
            if let Some(path) = path {
                layers = layers.flag(key, flag, args::text(path)?);
            }
        }
        if !self.allow_host.is_empty() {
            layers = layers.flag("http.allow_hosts", "--allow-host", self.allow_host.clone());
        }
        self.is_of_use(&layers)?;
        Ok(layers)
    }

    /// Rejects the other HTTP flags if HTTP is not served, because the user has probably forgotten `--http`.
    fn is_of_use(&self, layers: &Layers) -> Result<(), CliError> {
        let flags = [
            ("--token-file", self.token_file.is_some()),
            ("--allow-host", !self.allow_host.is_empty()),
            ("--tls-cert", self.tls_cert.is_some()),
            ("--tls-key", self.tls_key.is_some()),
        ];
        let Some((flag, _)) = flags.into_iter().find(|(_, is_given)| *is_given) else { return Ok(()) };
        match layers.read()?.http.listen {
            Some(_) => Ok(()),
            None => Err(CliError::Usage(format!("`{flag}` requires `--http`"))),
        }
    }
}

/// The configuration of the control plane.
pub(super) fn control(settings: &HttpSettings) -> ControlConfig {
    let config = ControlConfig::new();
    let Some(address) = settings.listen else { return config };
    let mut http = HttpConfig::at(address);
    if let Some(file) = &settings.token_file {
        http = http.token_file(file);
    }
    for name in &settings.allow_hosts {
        http = http.allow_host(name);
    }
    if let Some(TlsFiles { cert, key }) = &settings.tls {
        http = http.tls(cert, key);
    }
    config.http(http)
}

/// Parses an address with a port, or only a port, which is a port of 127.0.0.1.
fn parsed(address: &str) -> Result<SocketAddr, CliError> {
    let port = address.parse::<u16>().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let named = address.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok());
    let named = named.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    port.or(named).or_else(|| address.parse().ok()).ok_or_else(|| {
        CliError::Usage(format!(
            "`--http {address}` is not an address: write `--http 127.0.0.1:7777` or `--http 7777`, or put `--http` last"
        ))
    })
}

/// Prints the address at which HTTP is served. Also prints the token, but only if this host has just created it.
pub(super) fn print_address(listening: &Listening) {
    let (Some(url), Some(token)) = (listening.http(), listening.token()) else { return };
    let file = terminal::relative(&token.path);
    match &token.new {
        Some(text) => terminal::note(&format!(
            "serving {NAME}{url}/#token={text}{NAME:#}\n{DIM}the token is not shown again; it is kept in {file}{DIM:#}"
        )),
        None => terminal::note(&format!("serving {NAME}{url}{NAME:#} {DIM}(the token is in {file}){DIM:#}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_flag_without_http_is_rejected() {
        let http = |listen: Option<&str>| Http {
            http: listen.map(str::to_owned),
            token_file: Some("token".into()),
            allow_host: Vec::new(),
            tls_cert: None,
            tls_key: None,
        };
        let error = http(None).over(Layers::new()).unwrap_err().to_string();
        assert!(error.starts_with("`--token-file`") && error.ends_with("requires `--http`"), "{error}");
        assert!(http(Some("0")).over(Layers::new()).is_ok());
    }

    #[test]
    fn an_address_is_a_port_or_an_address_with_a_port() {
        for text in ["7777", "localhost:7777", "127.0.0.1:7777"] {
            assert_eq!(parsed(text).unwrap().to_string(), "127.0.0.1:7777");
        }
        assert_eq!(parsed("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert!(parsed("plugins").unwrap_err().to_string().contains("`--http` last"));
    }
}
