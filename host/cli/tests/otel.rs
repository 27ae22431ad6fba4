//! Tests that `replug run` sends the spans of reloads and requests to a collector by OTLP over HTTP.
//!
//! `cargo xtask ci` leaves this test out, because compiling the exporter's hundred crates takes about three minutes of
//! CPU time. Run it with `cargo test -p replug-cli --features otel --test otel`.

#![cfg(feature = "otel")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    thread,
};

/// A request to a collector.
struct Request {
    line: String,
    body: Vec<u8>,
}

/// Receives one request, and answers with success.
fn collect(listener: &TcpListener) -> Request {
    let (stream, _) = listener.accept().expect("a connection");
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).expect("a request");
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).expect("a header");
        let Some((name, value)) = header.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    reader.into_inner().write_all(answer.as_bytes()).expect("an open connection");
    Request { line, body }
}

/// Asks the host whether it is alive.
fn ask(socket: &Path) {
    let mut stream = UnixStream::connect(socket).expect("the host listens");
    let request = "GET /health/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("an open connection");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// Runs a host with one plugin, whose artifact is invalid. Sends a request to the host, waits until the host has
/// rejected the plugin, and stops the host.
fn run_and_end(dir: &Path, environment: &[(&str, &str)]) {
    let plugin = dir.join("plugins/broken");
    fs::create_dir_all(&plugin).expect("a temporary folder");
    fs::write(plugin.join("plugin.toml"), "id = \"dev.test.broken\"\nbinary = \"plugin.so\"\n")
        .expect("a file");
    fs::write(plugin.join("plugin.so"), "not a library").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_replug"));
    command.args(["run", "--json"]).current_dir(dir).envs(environment.iter().copied());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command was built with this test");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    let listening = lines.find(|line| line.contains("\"control_listening\"")).expect("the host listens");
    let listening: serde_json::Value = serde_json::from_str(&listening).expect("JSON");
    ask(Path::new(listening["socket"].as_str().expect("a socket")));
    assert!(lines.any(|line| line.contains("\"host_started\"")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("the host is running");
    lines.for_each(drop);
    assert!(child.wait().expect("the host exits").success());
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Runs a host and returns the first request to its collector. `configure` gets the folder of the host and the address
/// of the collector, and returns environment variables for the host.
fn arrives(configure: impl FnOnce(&Path, &str) -> Vec<(&'static str, String)>) -> Request {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let environment = configure(dir.path(), &address);
    let collector = thread::spawn(move || collect(&listener));
    let pairs: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    run_and_end(dir.path(), &pairs);
    collector.join().expect("the collector received a request")
}

#[test]
fn the_configured_collector_receives_reload_and_request_spans() {
    let request = arrives(|dir, address| {
        fs::write(dir.join("replug.toml"), format!("[otel]\nendpoint = \"{address}\"\n")).unwrap();
        Vec::new()
    });
    assert!(request.line.starts_with("POST /v1/traces "), "{}", request.line);
    let reload = ["reload", "build", "store", "preflight", "dev.test.broken", "failed"];
    for text in ["service.name", "replug", "request", "/health/live"].into_iter().chain(reload) {
        assert!(contains(&request.body, text), "the request does not contain {text:?}");
    }
}

#[test]
fn the_collector_in_the_standard_variable_receives_spans() {
    let request = arrives(|_, address| vec![("OTEL_EXPORTER_OTLP_ENDPOINT", address.to_owned())]);
    assert!(request.line.starts_with("POST /v1/traces "), "{}", request.line);
    assert!(contains(&request.body, "reload"));
}
