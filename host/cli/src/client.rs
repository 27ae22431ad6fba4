//! Sends requests to a running host, over its socket.

use super::{
    args::{Folder, State},
    error::CliError,
    here::HostLocator,
    shell::{self, quoted},
    terminal::{self, harmless, relative},
};
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use replug::{
    Event,
    control::{
        Envelope, ErrorBody, command::Request, find_socket, host_is_coming, other_owner, trust_problem,
    },
    event::EventName,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::net::UnixStream;

/// The time limit for the beginning of the answer to a read-only request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait until a host that is starting listens.
const START: Duration = Duration::from_secs(10);
/// How long to wait between two attempts to connect to a host that is starting.
const RETRY: Duration = Duration::from_millis(20);

/// The option that selects a running host.
#[derive(Debug, Args)]
pub(super) struct At {
    /// The plugins folder of the host [default: `plugins` or a plugin's folder, here or in a parent]
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
}

impl At {
    /// A client for the selected host.
    pub(super) fn client(&self) -> Result<Client, CliError> {
        Client::of(Folder::flag(&self.plugins))
    }
}

/// The address of a host, which may not be running.
#[derive(Debug)]
pub(super) struct Client {
    plugins: PathBuf,
    state_dir: PathBuf,
    socket: PathBuf,
}

impl Client {
    /// A client for the host of the given folder, or of the default folder.
    pub(super) fn of(folder: Folder<'_>) -> Result<Self, CliError> {
        Ok(Self::at(State::default().running(folder)?))
    }

    /// A client for the host with these folders.
    pub(super) fn at(host: HostLocator) -> Self {
        let socket = find_socket(&host.plugins, &host.state_dir);
        Self { plugins: host.plugins, state_dir: host.state_dir, socket }
    }

    /// Sends a command to the host, and returns its answer.
    pub(super) async fn send<A: DeserializeOwned>(&self, request: Request<A>) -> Result<A, CliError> {
        let declared = request.command.kind().declaration();
        let payload = request.command.payload();
        let response = match declared.effect.is_read_only() {
            true => self.get(&with_query(declared.path, &payload)).await?,
            false => {
                // The command may take minutes, so the client first checks that the host answers at all.
                self.get("/health/live").await?;
                let request = to_host(Method::POST, declared.path).header("content-type", "application/json");
                self.converse(request.body(Full::from(payload.to_string())), Duration::MAX).await?
            }
        };
        let ok = response.status().is_success();
        let body = self.read(response).await?;
        if !ok {
            return Err(self.refused(&body));
        }
        let answer: Envelope<A> = serde_json::from_slice(&body).map_err(|error| self.unreadable(&error))?;
        Ok(answer.data)
    }

    /// Requests a stream of events: the events from now on or, with `last_id`, those after the event with this id.
    pub(super) async fn stream(
        &self,
        path: &str,
        query: &Value,
        last_id: Option<&str>,
    ) -> Result<Stream, CliError> {
        let mut request = to_host(Method::GET, &with_query(path, query));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        let response = self.converse(request.body(Full::default()), PATIENCE).await?;
        if !response.status().is_success() {
            return Err(self.refused(&self.read(response).await?));
        }
        let (body, socket) = (response.into_body(), self.socket.display().to_string());
        Ok(Stream { body, text: Vec::new(), events: VecDeque::new(), has_stopped: false, socket })
    }

    async fn get(&self, path: &str) -> Result<Response<Incoming>, CliError> {
        self.converse(to_host(Method::GET, path).body(Full::default()), PATIENCE).await
    }

    async fn converse(
        &self,
        request: hyper::http::Result<hyper::Request<Full<Bytes>>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, CliError> {
        let broken = |reason: String| self.broken(&reason);
        let stream = self.connect().await?;
        // In /tmp, any user could have created the socket.
        let doubt = trust_problem(&self.socket, &stream).map_err(|error| self.unconnected(error))?;
        if let Some(reason) = doubt {
            return Err(CliError::Foreign { socket: self.socket.display().to_string(), reason });
        }
        let process = stream.peer_cred().ok().and_then(|peer| peer.pid());
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) =
            handshake.map_err(|error| broken(format!("closed the connection ({error})")))?;
        // The task ends when the answer has been received.
        tokio::spawn(connection);
        let request = request.map_err(|error| broken(format!("cannot receive this request ({error})")))?;
        // The kernel accepts the connection even if the host's process is stopped, so there must be a timeout.
        let answer = tokio::time::timeout(patience, sender.send_request(request)).await;
        let answer = answer.map_err(|_| self.silent(process))?;
        answer.map_err(|error| match error.is_parse() {
            true => broken(format!("does not speak HTTP ({error})")),
            false => CliError::BrokeOff { socket: self.socket.display().to_string() },
        })
    }

    /// Connects to the host. If the host is starting, or if its parent process is restarting it, waits for it.
    async fn connect(&self) -> Result<UnixStream, CliError> {
        let mut began = None;
        loop {
            // A host that is starting may not have recorded its socket yet.
            let socket = match began {
                None => self.socket.clone(),
                Some(_) => find_socket(&self.plugins, &self.state_dir),
            };
            let error = match UnixStream::connect(&socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            let is_missing =
                matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
            if !is_missing || !host_is_coming(&self.plugins, &self.state_dir) {
                return Err(self.unconnected(error));
            }
            let began = *began.get_or_insert_with(|| {
                terminal::note("the host does not listen yet: waiting for it");
                Instant::now()
            });
            if began.elapsed() > START {
                return Err(CliError::NotListening {
                    plugins: quoted(&relative(&self.plugins)),
                    after: START,
                });
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn unconnected(&self, source: io::Error) -> CliError {
        let socket = self.socket.display().to_string();
        let plugins = || quoted(&relative(&self.plugins));
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                match other_owner(&self.plugins, &self.state_dir) {
                    Some(uid) => CliError::OthersHost { plugins: plugins(), user: user(uid) },
                    None => {
                        let plugins = plugins();
                        let remedy = match self.plugins.is_dir() {
                            true => format!("start one with `{} dev {plugins}`", shell::invocation()),
                            false => "it is not a folder; pass the plugins folder of a running host".into(),
                        };
                        CliError::NoHost { plugins, socket, remedy }
                    }
                }
            }
            // The backlog of the socket is full.
            io::ErrorKind::WouldBlock => self.silent(None),
            _ => CliError::Unreachable { socket, source },
        }
    }

    fn silent(&self, process: Option<i32>) -> CliError {
        let process = process.map_or_else(String::new, |pid| format!(" (process {pid})"));
        CliError::Silent { socket: self.socket.display().to_string(), process }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, CliError> {
        let body = response.into_body().collect().await;
        Ok(body.map_err(|error| self.broken(&format!("closed the connection ({error})")))?.to_bytes())
    }

    /// The error for a request that the host has rejected, from the body of the answer.
    fn refused(&self, body: &[u8]) -> CliError {
        let ErrorBody { code, message, details } = match serde_json::from_slice(body) {
            Ok(answer) => answer,
            Err(error) if error.is_data() => {
                let message = "the host rejected the request without a reason".to_owned();
                ErrorBody { code: 0, message, details: Value::Null }
            }
            Err(error) => return self.unreadable(&error),
        };
        let diagnostics = serde_json::from_value(details["diagnostics"].clone()).unwrap_or_default();
        CliError::Answered { code, message, details, diagnostics }
    }

    /// The error for an answer that cannot be parsed.
    pub(super) fn unreadable(&self, error: &serde_json::Error) -> CliError {
        self.broken(&match error.is_data() {
            true => format!("answers in an unknown form ({error})"),
            false => format!("does not answer in JSON ({error})"),
        })
    }

    fn broken(&self, reason: &str) -> CliError {
        CliError::Conversation { socket: self.socket.display().to_string(), reason: reason.to_owned() }
    }
}

/// The name of a user, or the uid if /etc/passwd has no name for it.
fn user(uid: u32) -> String {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_string())
}

/// A request to the host. Over the socket, the `Host` header must be a name of this machine.
fn to_host(method: Method, path: &str) -> hyper::http::request::Builder {
    hyper::Request::builder().method(method).uri(path).header("host", "localhost")
}

fn with_query(path: &str, payload: &Value) -> String {
    let fields = payload.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let pairs: Vec<_> = fields
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key}={}", encoded(text)),
            other => format!("{key}={}", encoded(&other.to_string())),
        })
        .collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

/// Encodes a text for a query.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b',' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// A stream of events from a host.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    /// The received part of an event that is not complete yet.
    text: Vec<u8>,
    events: VecDeque<Value>,
    /// Whether the host has reported that it stopped.
    has_stopped: bool,
    socket: String,
}

impl Stream {
    /// Waits for the next event. Returns `None` when the host has stopped, and an error if the stream ends without the
    /// event `host_stopped`.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, CliError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                self.has_stopped |= name_of(&event) == Some(EventName::HostStopped);
                return Ok(Some(event));
            }
            // When a host is killed, the stream may end in the middle of an event.
            let Some(Ok(frame)) = self.body.frame().await else {
                let lost = || CliError::Lost { socket: self.socket.clone() };
                return if self.has_stopped { Ok(None) } else { Err(lost()) };
            };
            self.text.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
            self.split_events();
        }
    }

    fn split_events(&mut self) {
        while let Some(end) = self.text.windows(2).position(|two| two == b"\n\n") {
            let whole: Vec<u8> = self.text.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&whole);
            let data: String = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            self.events.extend(serde_json::from_str::<Value>(&data));
        }
    }
}

/// An event of a host in this process, without sequences that could control the terminal.
pub(super) fn defused(emitted: &Event) -> Option<Event> {
    event(serde_json::to_value(emitted).ok()?)
}

/// Parses a received event, and removes sequences that could control the terminal. Returns `None` for an unknown kind.
/// `events_lost`, which stands for several events, is sent without a time, and gets an empty one here.
pub(super) fn event(mut value: Value) -> Option<Event> {
    let rendered: Vec<_> = compiled(&mut value).map(|text| text.clone()).collect();
    defuse(&mut value);
    compiled(&mut value).zip(rendered).for_each(|(text, as_it_was)| *text = as_it_was);
    if let Some(fields) = value.as_object_mut() {
        fields.entry("at").or_insert(json!(""));
    }
    serde_json::from_value(value).ok()
}

/// Removes all control characters from the texts in a value, because a plugin may have written them.
fn defuse(value: &mut Value) {
    match value {
        Value::String(text) => *text = harmless(text),
        Value::Array(items) => items.iter_mut().for_each(defuse),
        Value::Object(fields) => {
            let entries = std::mem::take(fields).into_iter();
            *fields = entries.map(|(key, value)| (harmless(&key), value)).collect();
            fields.values_mut().for_each(defuse);
        }
        _ => {}
    }
}

/// The kind of an event; `None` if this version of replug does not have it.
fn name_of(event: &Value) -> Option<EventName> {
    EventName::parse(event["event"].as_str()?)
}

/// The messages of the compiler in an event. They keep their sequences for colours.
fn compiled(event: &mut Value) -> impl Iterator<Item = &mut Value> {
    let list = match name_of(event) {
        Some(EventName::BuildFailed) => event.get_mut("diagnostics"),
        Some(EventName::BuildUnchanged | EventName::Reloaded) => event.get_mut("warnings"),
        _ => None,
    };
    let diagnostics = list.and_then(Value::as_array_mut).into_iter().flatten();
    diagnostics.filter_map(|diagnostic| diagnostic.get_mut("rendered"))
}

#[cfg(test)]
mod tests;
