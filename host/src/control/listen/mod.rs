//! Where the control plane listens: bound before the host starts anything, serving once it is there.

mod claim;
mod pool;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
mod unix;

pub use unix::{distrust, socket_path};

use super::{
    App,
    audit::Audit,
    config::{ControlConfig, ListenError},
    guard::{Gate, Who},
    recent::Recent,
    routes::Api,
    sse::Held,
    token::KeptToken,
};
use crate::{
    EventKind, Events,
    config::user_states,
    host::WeakHost,
    lineage::{self, Origin},
    load::process::Program,
    workspace::Workspace,
};
use axum::{
    body::{Body, HttpBody},
    extract::Request,
};
use claim::Claim;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use pool::{Place, Pool};
use rustix::process::Pid;
use std::{
    cmp::Reverse,
    convert::Infallible,
    fmt, io,
    net::IpAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tcp::Tcp;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime,
    sync::Semaphore,
    task::AbortHandle,
};
use unix::{SocketFile, Unix};

/// How long the head of a request may take to arrive, and a connection stay without one.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// How many bytes the head of a request may have.
const HEAD_BYTES: usize = 64 * 1024;
/// How many streams of events there may be at the same time.
const STREAMS: usize = 64;
/// How often to look whether the claim is still there.
const CLAIM_LOOK: Duration = Duration::from_secs(2);
/// How long a host that ends waits for those who still read events.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where to ask for the host of the first folder, which keeps its things in the second: where the host that is there says
/// that it listens, else at the [usual path](socket_path).
pub fn find_socket(plugins_dir: &Path, state_dir: &Path) -> PathBuf {
    let found =
        claim::look_up(plugins_dir, state_dir).or_else(|| socket_behind_links(plugins_dir, state_dir));
    found.unwrap_or_else(|| socket_path(plugins_dir))
}

/// Where the host of a folder listens that led elsewhere when the host started: it goes by where the folder was then.
fn socket_behind_links(plugins_dir: &Path, state_dir: &Path) -> Option<PathBuf> {
    let plugins_dir = plugins_dir.canonicalize().ok()?;
    let mut states: Vec<_> = user_states().into_iter().collect();
    states.extend(Workspace::around(&plugins_dir).map(|workspace| workspace.states()));
    let hosts =
        claim::look_in(state_dir).into_iter().chain(states.iter().flat_map(|it| claim::look_below(it)));
    hosts.into_iter().find(|host| host.plugins == plugins_dir).map(|host| host.socket)
}

/// The user whose host serves the first folder and keeps its things in the second, if that is another than this one.
pub fn other_owner(plugins_dir: &Path, state_dir: &Path) -> Option<u32> {
    claim::other_owner(plugins_dir, state_dir)
}

/// A host that runs, as its file in the state folder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHost {
    /// Where it listens.
    pub socket: PathBuf,
    /// The plugins folder that it serves.
    pub plugins: PathBuf,
}

/// The hosts of this user's that have a default state folder, and serve a plugins folder around `folder`, or one in the same
/// cargo workspace. Those around it come first, the nearest before the others.
pub fn hosts_around(folder: &Path) -> Vec<FoundHost> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let workspace = Workspace::around(&folder);
    let mut hosts: Vec<_> = user_states().iter().flat_map(|states| claim::look_below(states)).collect();
    // A plugin may be a workspace of its own, in the plugins folder of another.
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

/// What listens already and does not answer yet.
pub(crate) struct Bound {
    config: ControlConfig,
    unix: Unix,
    claim: Claim,
    tcp: Option<Tcp>,
    events: Events,
}

impl Bound {
    /// Listens, for the host of the first folder that keeps its things in the second. The program, if there is one, cleans
    /// up after a host that is killed.
    pub(crate) async fn new(
        config: ControlConfig,
        dirs: (&Path, &Path),
        program: Option<&Program>,
        events: Events,
    ) -> Result<Self, Arc<ListenError>> {
        let (plugins_dir, state_dir) = dirs;
        let mut claim = Claim::of(plugins_dir, state_dir)?;
        let unix = Unix::bind(config.socket.as_deref(), plugins_dir, program)?;
        claim.say(unix.file.path())?;
        let tcp = match &config.http {
            Some(http) => Some(Tcp::bind(http, state_dir, claim.last_http).await?),
            None => None,
        };
        if let Some(tcp) = &tcp {
            claim.say_http(tcp.address)?;
        }
        Ok(Self { config, unix, claim, tcp, events })
    }

    /// Answers from now on.
    pub(crate) fn serve(self, runtime: &runtime::Handle, host: WeakHost) -> Listening {
        let Self { config, unix, claim, tcp, events } = self;
        let recent = Arc::new(Recent::new());
        let (gate, http, token) = match &tcp {
            Some(tcp) => (Some(tcp.gate()), Some(tcp.url()), Some(tcp.token())),
            None => (None, None, None),
        };
        let app = Arc::new(App {
            audit: Audit::new(host.clone()),
            host,
            recent: recent.clone(),
            gate,
            calls: Arc::default(),
            places: Arc::new(Semaphore::new(config.calls)),
            call_deadline: config.call_deadline,
            streams: Arc::new(Semaphore::new(STREAMS)),
        });
        let api = Api::of(app.clone());
        let auditing = app.clone();
        let mut tasks = vec![
            runtime.spawn(recent.follow(events)).abort_handle(),
            runtime.spawn(async move { auditing.audit.keep_up().await }).abort_handle(),
            runtime.spawn(unix::accept(unix.listener, api.clone())).abort_handle(),
        ];
        let socket = unix.file.path().to_owned();
        let place = Arc::new(Mutex::new(Some((unix.file, claim))));
        let kept = tcp.as_ref().map(Tcp::kept_token);
        tasks.push(runtime.spawn(keep_files(place.clone(), kept)).abort_handle());
        if let Some(tcp) = tcp {
            tasks.push(runtime.spawn(tcp.accept(api)).abort_handle());
        }
        Listening { socket, place, http, token, tasks, app }
    }
}

/// Makes the claim and the token's file again when someone has removed them with the state folder, of which nothing else tells
/// the host.
async fn keep_files(place: Arc<Mutex<Option<(SocketFile, Claim)>>>, mut token: Option<KeptToken>) {
    let mut looks = tokio::time::interval(CLAIM_LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut was_gone = false;
        if let Some((_, claim)) = &mut *place.lock() {
            match claim.renew() {
                Ok(gone) => was_gone = gone,
                Err(error) => tracing::warn!("{error}"),
            }
        }
        if let Some(token) = &mut token
            && let Err(error) = token.look(was_gone)
        {
            tracing::warn!("the file of the token for HTTP cannot be made again: {error}");
        }
    }
}

/// Where a host listens. Ends with the host.
pub struct Listening {
    socket: PathBuf,
    /// What no other host can have meanwhile.
    place: Arc<Mutex<Option<(SocketFile, Claim)>>>,
    http: Option<String>,
    token: Option<TokenFile>,
    tasks: Vec<AbortHandle>,
    app: Arc<App>,
}

/// Where the token for HTTP is.
#[derive(Clone)]
pub struct TokenFile {
    /// The file that keeps it.
    pub path: PathBuf,
    /// The token itself, if it was made just now and has to be told.
    pub new: Option<String>,
}

impl Listening {
    /// The Unix socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where HTTP is served over TCP, as the beginning of a URL.
    pub fn http(&self) -> Option<&str> {
        self.http.as_deref()
    }

    /// Where the token for HTTP over TCP is.
    pub fn token(&self) -> Option<&TokenFile> {
        self.token.as_ref()
    }

    pub(crate) fn event(&self) -> EventKind {
        EventKind::ControlListening { socket: Some(self.socket.clone()), http: self.http.clone() }
    }

    /// Waits until those who read events have read that the host has stopped, which ends their streams; but not for long.
    pub(crate) async fn farewell(&self) {
        let _ = tokio::time::timeout(FAREWELL, self.app.streams.acquire_many(STREAMS as u32)).await;
    }

    /// Takes no more connections. Those that are there may read the end.
    pub(crate) fn close(&self) {
        // Before the listener: as long as that listens, no other host takes the path.
        drop(self.place.lock().take());
        // The first task writes down what happens, which those who still listen want to the end.
        self.tasks.iter().skip(1).for_each(AbortHandle::abort);
        self.app.audit.sum_up();
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening")
            .field("socket", &self.socket)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.close();
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) who: Who,
    /// Where the process comes from that made it, as far as that is known.
    pub(super) origin: io::Result<Origin>,
    /// The address of this host's that it was made to.
    pub(super) local: Option<IpAddr>,
    /// How many answers are under way.
    busy: AtomicUsize,
}

impl Connection {
    fn new(who: Who, local: Option<IpAddr>) -> Arc<Self> {
        let origin = match who {
            Who::Process { pid, .. } => origin_of(pid),
            Who::Remote(_) | Who::Program => Ok(Origin::Elsewhere),
        };
        Arc::new(Self { who, origin, local, busy: AtomicUsize::new(0) })
    }

    fn is_idle(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }
}

/// Where the process comes from that the kernel gives this number. One without a number here is in a pid namespace that this
/// one does not see into, as no descendant of this process's is.
fn origin_of(pid: Option<i32>) -> io::Result<Origin> {
    match pid.and_then(Pid::from_raw) {
        Some(pid) => lineage::origin(pid),
        None => Ok(Origin::Elsewhere),
    }
}

/// Serves one connection until it ends, or its place is needed while it is idle.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, place: Place, api: Arc<Api>) {
    let connection = place.connection.clone();
    let held = Arc::new(Mutex::new(None));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let busy = Busy::new(&connection);
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(connection.clone());
        let (api, held) = (api.clone(), held.clone());
        async move {
            let mut response = api.answer(request).await;
            if let Some(permit) = response.extensions_mut().remove::<Held>() {
                *held.lock() = Some(permit);
            }
            Ok::<_, Infallible>(response.map(|body| Underway { body, _busy: busy }))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // An error means that the other side broke off or sent no HTTP: both are its own affair.
        _ = serving => {}
        () = place.needed() => {}
    }
}

/// Keeps a connection from being taken for idle.
struct Busy(Arc<Connection>);

impl Busy {
    fn new(connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Self(connection.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer that is on its way; a stream may be so for days.
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
