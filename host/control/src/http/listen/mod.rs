//! The listeners of the control plane. They are bound before the host starts any plugin.

mod claim;
mod outgoing;
mod plane;
mod pool;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod unix;

pub use plane::{Control, Listening};
pub use unix::{socket_path, trust_problem};

use super::{
    caller::{Connection, Phase},
    config::{ControlConfig, ListenError},
    guard::TcpChecks,
    routes::Api,
    sse::Held,
};
use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use claim::Claim;
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::TokioIo;
use outgoing::Outgoing;
use parking_lot::Mutex;
use pool::{Place, Pool};
use replug_engine::{Events, Starting, Workspace, user_states};
use std::{
    cmp::Reverse,
    convert::Infallible,
    fmt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tcp::Tcp;
use tokio::io::{AsyncRead, AsyncWrite};
use unix::{SocketFile, Unix};

const LIMITS: Limits = Limits { head: Duration::from_secs(30), send: Duration::from_secs(300) };
/// The maximum size of the head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// The time limits of a connection.
#[derive(Clone, Copy)]
struct Limits {
    /// For receiving the head of a request, and for the idle time between two requests.
    head: Duration,
    /// For the client to read a part of an answer that is complete, but not yet written. The kernel buffers megabytes of
    /// it, and accepts more bytes only when a third of its buffer is free. So this limit is much longer than `head`:
    /// with 30 s, the host would cut off a client that reads less than about 50 KB a second.
    send: Duration,
}

/// The path of the socket of the host that serves `plugins_dir` with the state folder `state_dir`: the path that a
/// running host has recorded, or else the [default path](socket_path).
pub fn find_socket(plugins_dir: &Path, state_dir: &Path) -> PathBuf {
    let found =
        claim::look_up(plugins_dir, state_dir).or_else(|| socket_behind_links(plugins_dir, state_dir));
    found.unwrap_or_else(|| socket_path(plugins_dir))
}

/// Whether `plugins_dir` with the state folder `state_dir` has a host of this user that listens or will listen soon: a
/// host that runs or is starting, or a host that has crashed and that its parent process (see `parent::supervise`) is
/// about to restart.
pub fn host_is_coming(plugins_dir: &Path, state_dir: &Path) -> bool {
    claim::is_coming(plugins_dir, state_dir)
}

/// The socket of a running host that was started with a link to its plugins folder, if the link has been changed since,
/// and leads to `plugins_dir` now. The path of such a socket was derived from the former target of the link.
fn socket_behind_links(plugins_dir: &Path, state_dir: &Path) -> Option<PathBuf> {
    let plugins_dir = plugins_dir.canonicalize().ok()?;
    let mut states: Vec<_> = user_states().into_iter().collect();
    states.extend(Workspace::around(&plugins_dir).map(|workspace| workspace.states()));
    let hosts =
        claim::look_in(state_dir).into_iter().chain(states.iter().flat_map(|it| claim::look_below(it)));
    hosts.into_iter().find(|host| host.plugins == plugins_dir).map(|host| host.socket)
}

/// The id of the user whose host serves `plugins_dir` with the state folder `state_dir`, if that is not the user of
/// this process.
pub fn other_owner(plugins_dir: &Path, state_dir: &Path) -> Option<u32> {
    claim::other_owner(plugins_dir, state_dir)
}

/// A running host, according to its file in the state folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHost {
    /// The path of the host's socket.
    pub socket: PathBuf,
    /// The plugins folder that it serves.
    pub plugins: PathBuf,
}

/// The running hosts of this user that have a default state folder, and whose plugins folder contains `folder` or is in
/// the same cargo workspace. The hosts whose plugins folder contains `folder` come first, and among them the host with
/// the nearest folder.
pub fn hosts_around(folder: &Path) -> Vec<FoundHost> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let workspace = Workspace::around(&folder);
    let mut hosts: Vec<_> = user_states().iter().flat_map(|states| claim::look_below(states)).collect();
    // A plugin may be a workspace of its own, in the plugins folder of another workspace.
    let mut next = workspace.clone();
    while let Some(at) = next {
        hosts.extend(claim::look_below(&at.states()));
        next = at.root.parent().and_then(Workspace::around);
    }
    let is_around = |host: &FoundHost| folder.starts_with(&host.plugins);
    hosts.retain(|host| {
        is_around(host) || workspace.as_ref().is_some_and(|it| host.plugins.starts_with(&it.root))
    });
    hosts.sort_by_key(|host| (!is_around(host), Reverse(host.plugins.components().count())));
    hosts
}

/// A control plane that listens, but does not answer yet.
struct Bound {
    unix: Unix,
    claim: Claim,
    tcp: Option<Tcp>,
    events: Events,
}

impl Bound {
    /// Binds the listeners for a host that is about to start.
    async fn new(config: &ControlConfig, at: Starting<'_>) -> Result<Self, ListenError> {
        let events = at.events();
        let mut claim = Claim::of(at.plugins_dir, at.state_dir)?;
        let unix = Unix::bind(config.socket.as_deref(), at.plugins_dir, at.program)?;
        claim.record_socket(unix.file.path())?;
        let tcp = match &config.http {
            Some(http) => Some(Tcp::bind(http, at.state_dir, claim.last_http).await?),
            None => None,
        };
        if let Some(tcp) = &tcp {
            claim.record_http(tcp.address)?;
        }
        Ok(Self { unix, claim, tcp, events })
    }
}

/// The resources that no other host can have at the same time.
struct Exclusive {
    /// The socket must be removed before the claim is released, because the next holder of the claim may create the
    /// socket again. So this field comes before `claim`.
    _socket: SocketFile,
    claim: Claim,
}

impl Exclusive {
    fn new(socket: SocketFile, claim: Claim) -> Self {
        Self { _socket: socket, claim }
    }
}

/// The token for HTTP and its file.
#[derive(Clone)]
pub struct TokenFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The token itself, if this host has created it, so that the program can show it to the user.
    pub new: Option<String>,
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Serves one connection. See [`serve`].
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: Place, api: Arc<Api>) {
    let connection = place.connection.clone();
    let held = Arc::new(Mutex::new(None));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = Busy::new(&connection);
        let request: Request = request.map(Body::new);
        let (api, held, connection) = (api.clone(), held.clone(), connection.clone());
        async move {
            let mut response = api.answer(&connection, request).await;
            if let Some(permit) = response.extensions_mut().remove::<Held>() {
                *held.lock() = Some(permit);
            }
            Ok::<_, Infallible>(response.map(|body| Underway { body, _busy: busy }))
        }
    });
    serve(stream, &place, service, LIMITS).await;
}

/// Serves one connection until the client closes it, or until another connection needs its place, or until a limit of
/// `limits` is reached. The bytes that are written to `stream` must pass through an [`Outgoing`].
async fn serve<S>(stream: impl AsyncRead + AsyncWrite + Unpin, place: &Place, service: S, limits: Limits)
where
    S: Service<hyper::Request<Incoming>, Response = hyper::Response<Underway>, Error = Infallible>,
{
    // hyper would start a timer for the head of each request. One timer for the connection costs less.
    let serving = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        // An error means that the client closed the connection or did not send HTTP. The host need not react to either.
        _ = serving => {}
        () = place.needed() => {}
        () = stays_quiet(&place.connection, limits) => {}
    }
}

/// Waits until a limit of `limits` is reached. There is no limit while the host produces an answer or a stream.
async fn stays_quiet(connection: &Connection, limits: Limits) {
    loop {
        let left = match connection.phase() {
            Phase::Answering => limits.head,
            Phase::Sending => limits.send.saturating_sub(connection.quiet_for()),
            Phase::Idle => limits.head.saturating_sub(connection.quiet_for()),
        };
        if left.is_zero() {
            return;
        }
        // In another phase, the limit may be reached earlier.
        tokio::time::sleep(left.min(limits.head)).await;
    }
}

/// Marks a connection as busy.
struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.begins_answer();
        Self(connection.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.ends_answer();
    }
}

/// The body of an answer. The connection counts as busy until hyper has taken the whole body into its buffer, which can
/// take days for a stream.
struct Underway {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Underway {
    type Data = <Body as HttpBody>::Data;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::command::Who;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LONG: Duration = Duration::from_secs(600);
    const SIZE: usize = 64 * 1024;

    /// Serves a connection whose client has sent one request. The answer is larger than the stream's buffer. Returns the
    /// client's end of the stream, and the connection's task.
    async fn asked(limits: Limits) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (mut client, stream) = duplex(512);
        client.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
        let place = Pool::new(1).admit(Connection::new(Who::Program, None)).unwrap();
        let (connection, stream) = (place.connection.clone(), Outgoing::new(stream, &place.connection));
        let service = service_fn(move |_| {
            let busy = Busy::new(&connection);
            let body = Body::from(vec![b'x'; SIZE]);
            async move { Ok::<_, Infallible>(hyper::Response::new(Underway { body, _busy: busy })) }
        });
        let serving = tokio::spawn(async move { serve(stream, &place, service, limits).await });
        (client, serving)
    }

    #[tokio::test]
    async fn an_answer_is_sent_completely_although_the_limit_for_a_head_passes() {
        let (mut client, serving) = asked(Limits { head: Duration::ZERO, send: LONG }).await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.iter().filter(|byte| **byte == b'x').count(), SIZE);
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_is_closed_if_its_client_does_not_read_the_answer() {
        let (mut client, serving) = asked(Limits { head: LONG, send: Duration::ZERO }).await;
        serving.await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() < SIZE);
    }
}
