//! End-to-end tests of HTTPS: with a certificate, the host may listen at an address that other machines can reach, and
//! serves HTTPS only.

#![cfg(feature = "tls")]

use replug::{
    Host,
    control::{Control, ControlConfig, HttpConfig, Listening},
};
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Output},
};

fn run(dir: &Path, program: &str, args: &[&str]) -> Option<Output> {
    Command::new(program).args(args).current_dir(dir).output().ok()
}

fn config(dir: &Path, certificate: &str) -> ControlConfig {
    let http = HttpConfig::at(([0, 0, 0, 0], 0).into()).tls(dir.join(certificate), dir.join("key.pem"));
    ControlConfig::new().socket(dir.join("run/host.sock")).http(http.token_file(dir.join("token")))
}

fn host(dir: &Path, certificate: &str) -> Result<(Host, Listening), replug::HostError> {
    let control = Control::new(config(dir, certificate));
    let listening = control.listening();
    let host = Host::builder().plugins(dir.join("plugins")).attach(control).build().wait()?;
    Ok((host, listening))
}

#[test]
fn a_port_with_a_certificate_serves_https_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("plugins")).unwrap();
    let request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem \
                   -subj /CN=localhost -addext subjectAltName=DNS:localhost";
    let made = run(dir, "openssl", &request.split_whitespace().collect::<Vec<_>>());
    if made.is_none() || run(dir, "curl", &["--version"]).is_none() {
        // `eprintln!` is not used, because its output is captured, and shown only for failed tests.
        let _ = writeln!(io::stderr(), "SKIPPED in tls: it needs openssl and curl");
        return;
    }
    let (host, listening) = host(dir, "cert.pem").unwrap();
    let port = listening.http().and_then(|url| url.strip_prefix("https://0.0.0.0:")).unwrap();
    let token = fs::read_to_string(dir.join("token")).unwrap();
    let curl = |url: &str| {
        let bearer = format!("authorization: Bearer {}", token.trim());
        let args = ["--silent", "--cacert", "cert.pem", "--header", &bearer, url];
        run(dir, "curl", &args).map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap()
    };
    let listed = curl(&format!("https://localhost:{port}/api/v1/plugin/list"));
    assert!(listed.starts_with("{\"code\":0,"), "{listed}");
    let plain = curl(&format!("http://localhost:{port}/api/v1/plugin/list"));
    assert_eq!(plain, "", "a request without encryption gets no answer");
    host.shutdown().wait();
}

#[test]
fn an_invalid_certificate_is_rejected_with_its_path() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    fs::create_dir(dir.join("plugins")).unwrap();
    fs::write(dir.join("cert.pem"), "no certificate").unwrap();
    fs::write(dir.join("key.pem"), "no key").unwrap();
    for (certificate, reason) in [("cert.pem", "it holds no certificate"), ("missing.pem", "")] {
        let error = host(dir, certificate).unwrap_err().to_string();
        for words in [certificate, reason, "PEM file with a certificate chain"] {
            assert!(error.contains(words), "{error}");
        }
    }
}
