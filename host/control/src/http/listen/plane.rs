//! [`Control`]: the control plane, to be attached to a host.

use super::{Api, Bound, Exclusive, TokenFile, tcp::Tcp, unix::accept};
use crate::http::{App, config::ControlConfig, execute::Executor, recent::Recent, token::KeptToken};
use parking_lot::Mutex;
use replug_engine::{Attachment, BoxError, BoxFuture, EventKind, Starting, WeakHost};
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{sync::Semaphore, task::AbortHandle};

/// The maximum number of concurrent streams of events.
const STREAMS: u32 = 64;
/// The interval at which to check that the files of the claim and of the token still exist.
const CLAIM_LOOK: Duration = Duration::from_secs(2);

/// The control plane of one host: see [`HostBuilder::attach`](replug_engine::HostBuilder::attach).
pub struct Control {
    config: ControlConfig,
    listening: Listening,
    state: State,
}

enum State {
    Idle,
    /// The control plane listens, and does not answer yet.
    Bound(Box<Bound>),
    Serving(Serving),
}

/// The addresses at which the control plane of a host listens. They are known once the host is built.
#[derive(Clone, Default)]
pub struct Listening {
    at: Arc<OnceLock<At>>,
}

struct At {
    socket: PathBuf,
    http: Option<String>,
    token: Option<TokenFile>,
}

impl Control {
    /// A control plane that will listen as configured.
    pub fn new(config: ControlConfig) -> Self {
        Self { config, listening: Listening::default(), state: State::Idle }
    }

    /// The addresses at which this control plane listens. They are set once the host is built.
    pub fn listening(&self) -> Listening {
        self.listening.clone()
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control")
            .field("config", &self.config)
            .field("listening", &self.listening)
            .finish_non_exhaustive()
    }
}

impl Attachment for Control {
    fn bind<'a>(&'a mut self, at: Starting<'a>) -> BoxFuture<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let bound = Bound::new(&self.config, at).await?;
            let (http, token) = bound.tcp.as_ref().map(|tcp| (tcp.url(), tcp.token())).unzip();
            // A host binds its attachments only once, so this cannot be set twice.
            let _ = self.listening.at.set(At { socket: bound.unix.file.path().to_owned(), http, token });
            self.state = State::Bound(Box::new(bound));
            Ok(())
        })
    }

    fn serve(&mut self, host: WeakHost) {
        if let State::Bound(bound) = std::mem::replace(&mut self.state, State::Idle) {
            if let Some(host) = host.upgrade() {
                host.event_sink().host(self.listening.event());
            }
            self.state = State::Serving(Serving::begin(*bound, &self.config, host));
        }
    }

    fn close(&mut self) {
        match &self.state {
            State::Idle => {}
            State::Bound(_) => self.state = State::Idle,
            State::Serving(serving) => serving.close(),
        }
    }

    fn drained(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if let State::Serving(serving) = &self.state {
                serving.drained().await;
            }
        })
    }
}

impl Listening {
    /// The path of the Unix socket. `None` before the host is built.
    pub fn socket(&self) -> Option<&Path> {
        Some(&self.at.get()?.socket)
    }

    /// The URL without a path, such as `http://127.0.0.1:7777`, if HTTP is served over TCP.
    pub fn http(&self) -> Option<&str> {
        self.at.get()?.http.as_deref()
    }

    /// The token for HTTP over TCP, if HTTP is served over TCP.
    pub fn token(&self) -> Option<&TokenFile> {
        self.at.get()?.token.as_ref()
    }

    fn event(&self) -> EventKind {
        let socket = self.socket().map(Path::to_owned);
        EventKind::ControlListening { socket, http: self.http().map(str::to_owned) }
    }
}

impl fmt::Debug for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listening")
            .field("socket", &self.socket())
            .field("http", &self.http())
            .finish_non_exhaustive()
    }
}

/// A control plane that answers. Dropping it closes the listeners and removes their files.
struct Serving {
    /// The resources that no other host can have at the same time.
    place: Arc<Mutex<Option<Exclusive>>>,
    /// The tasks that accept connections, and the other tasks that `close` stops.
    listeners: Vec<AbortHandle>,
    /// The task that records events. It also runs after `close`, because connected readers still need the events.
    recording: AbortHandle,
    app: Arc<App>,
}

impl Serving {
    fn begin(bound: Bound, config: &ControlConfig, host: WeakHost) -> Self {
        let Bound { unix, claim, tcp, events } = bound;
        let recent = Arc::new(Recent::new());
        let executor = Executor::new(host, recent.clone(), (config.calls, config.call_deadline));
        let app = Arc::new(App {
            executor: Arc::new(executor),
            recent: recent.clone(),
            checks: tcp.as_ref().map(Tcp::checks),
            streams: Arc::new(Semaphore::new(STREAMS as usize)),
        });
        let api = Api::of(app.clone());
        let auditing = app.executor.clone();
        let place = Arc::new(Mutex::new(Some(Exclusive::new(unix.file, claim))));
        let mut listeners = vec![
            tokio::spawn(async move { auditing.audit().write_batches().await }).abort_handle(),
            tokio::spawn(accept(unix.listener, api.clone())).abort_handle(),
            tokio::spawn(keep_files(place.clone(), tcp.as_ref().map(Tcp::kept_token))).abort_handle(),
        ];
        if let Some(tcp) = tcp {
            listeners.push(tokio::spawn(tcp.accept(api)).abort_handle());
        }
        let recording = tokio::spawn(recent.follow(events)).abort_handle();
        Self { place, listeners, recording, app }
    }

    /// Stops accepting connections. Existing connections continue.
    fn close(&self) {
        // The socket's file is removed before the listener is dropped: while the listener exists, no other host uses
        // the path.
        drop(self.place.lock().take());
        self.listeners.iter().for_each(AbortHandle::abort);
        self.app.executor.audit().sum_up();
    }

    /// Waits until all streams of events have ended. A stream ends after its reader has received `host_stopped`.
    async fn drained(&self) {
        // An error would mean that the semaphore is closed, which never happens.
        let _ = self.app.streams.acquire_many(STREAMS).await;
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.close();
        self.recording.abort();
    }
}

/// Creates the files of the claim and of the token again if they were removed, for example with the state folder.
/// Nothing reports the removal, so this task checks at intervals.
async fn keep_files(place: Arc<Mutex<Option<Exclusive>>>, mut token: Option<KeptToken>) {
    let mut looks = tokio::time::interval(CLAIM_LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let mut was_gone = false;
        if let Some(place) = &mut *place.lock() {
            match place.claim.renew() {
                Ok(gone) => was_gone = gone,
                Err(error) => tracing::warn!("{error}"),
            }
        }
        if let Some(token) = &mut token
            && let Err(error) = token.look(was_gone)
        {
            tracing::warn!("cannot create the token file for HTTP again: {error}");
        }
    }
}
