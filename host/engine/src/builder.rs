//! [`HostBuilder`]: what a host is told before it starts, and its start.

use crate::{
    artifact::Store,
    attachment::{Attachment, Attachments, Starting},
    build::Builder,
    checkpoint::Checkpoints,
    config::{self, ConfigState, DEFAULT_PLUGINS_DIR, HostConfig, Settings, StateDir, settle_state_dir},
    demotion::{Demotions, Processes},
    discovery::{self, DiscoveryLoop, WorkerHandles},
    error::HostError,
    event::{EventSink, Events},
    host::Host,
    live,
    load::{
        LogBound, in_process,
        process::{ProcessError, Program},
    },
    orphans, parent,
    pending::Pending,
    preflight::Verdicts,
    record::Records,
    registry::{CrashRecord, crash_record, fence},
    reload::Context,
    shim,
    watch::{Watcher, links_on},
    workspace::BuildDir,
};
use parking_lot::{Mutex, RwLock};
use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};
use tokio::{
    runtime::{self, Runtime},
    sync::{mpsc, oneshot, watch},
};

/// What a [`Host`] is told before it starts. Made by [`Host::builder`].
#[derive(Debug)]
pub struct HostBuilder {
    config: HostConfig,
    shim_program: Option<PathBuf>,
    auto_start: bool,
    crash_record: bool,
    remember: bool,
    events: EventSink,
    attachments: Attachments,
}

impl HostBuilder {
    pub(crate) fn new() -> Self {
        Self {
            config: HostConfig::default(),
            shim_program: None,
            auto_start: true,
            crash_record: true,
            remember: true,
            events: EventSink::new(),
            attachments: Attachments::default(),
        }
    }

    /// All that a configuration says, in place of what was said of it before: see [`Layers`](crate::Layers). What is
    /// said of it afterwards goes before it.
    #[must_use]
    pub fn config(mut self, config: HostConfig) -> Self {
        self.config = config;
        self
    }

    /// The folder whose sub-folders are the plugins, or one plugin's own folder. Default: `plugins`.
    #[must_use]
    pub fn plugins(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.plugins = Some(dir.into());
        self
    }

    /// Where the host keeps what it makes: builds, artifacts, the plugins' data. Default:
    /// [`default_state_dir`](crate::default_state_dir), which `cargo clean` removes if the plugins lie in a cargo workspace.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.state_dir = Some(dir.into());
        self
    }

    /// The program that runs plugins in processes of their own, and tries new versions of all others: one that calls
    /// [`shim::run_if_asked`](crate::shim::run_if_asked) first in its `main`. Default: this program, if it does.
    #[must_use]
    pub fn shim_program(mut self, program: impl Into<PathBuf>) -> Self {
        self.shim_program = Some(program.into());
        self
    }

    /// Whether to rebuild and reload a plugin whenever one of its files is saved. Default: no.
    #[must_use]
    pub fn watch(mut self, watch: bool) -> Self {
        self.config.watch = watch;
        self
    }

    /// Whether plugins start by themselves, as their manifests say, or wait for [`Host::start`]. Default: yes.
    #[must_use]
    pub fn auto_start(mut self, auto_start: bool) -> Self {
        self.auto_start = auto_start;
        self
    }

    /// How many artifacts to keep for going back, for each plugin. Default: 10.
    #[must_use]
    pub fn keep_artifacts(mut self, count: usize) -> Self {
        self.config.keep_artifacts = count;
        self
    }

    /// How many bytes the libraries of all generations may take, the retired ones included. Near it, reloads are
    /// refused. Default: 1 GiB.
    #[must_use]
    pub fn retained_bytes_limit(mut self, bytes: u64) -> Self {
        self.config.retained_bytes_limit = bytes;
        self
    }

    /// Whether to keep a record, in a file, of which thread is in which plugin, so that a plugin that ends the process
    /// is known by the next host. The first host that keeps one installs handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE,
    /// SIGABRT, SIGTRAP and SIGSYS, which note what they see and let things take their course; a program that handles
    /// these itself installs its own after that. Default: yes.
    #[must_use]
    pub fn crash_record(mut self, keep: bool) -> Self {
        self.crash_record = keep;
        self
    }

    /// Whether the next host on the same state folder goes on where this one ends: with the versions that serve, the
    /// plugins that someone has stopped, the versions to go back to and the states that plugins have saved. A host that is
    /// started for a single question says no: it builds what is there, and leaves no trace. Default: yes.
    #[must_use]
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// What begins and ends with the host, such as the control plane, `replug::control::Control`, for those who want to
    /// talk to the host while it runs. Default: nothing.
    #[must_use]
    pub fn attach(mut self, attachment: impl Attachment) -> Self {
        self.attachments.add(attachment);
        self
    }

    /// The events from now on, those of the start included.
    pub fn events(&self) -> Events {
        self.events.subscribe()
    }

    /// Starts the host: finds the plugins, builds and loads them. A plugin that does not come up does not keep the
    /// host from starting; [`Host::plugins`] and the events say why.
    ///
    /// A version that served before comes up from the store, and its source is built behind it: the host does not wait for that,
    /// unless this program is another than the one in which that version served, or was built again since, so that its interfaces may be
    /// others.
    ///
    /// # Errors
    ///
    /// * [`HostError::Plugins`] if the plugins folder cannot be read
    /// * [`HostError::StateDir`] if there is no place for what the host makes
    /// * [`HostError::Watch`] if the folder is to be watched and cannot be
    /// * [`HostError::Kernel`] if the kernel lacks `membarrier`
    /// * [`HostError::Attachment`] if what is [attached](HostBuilder::attach) cannot begin: the control plane if it cannot
    ///   listen, or if another host serves this folder already
    pub fn build(self) -> Pending<Result<Host, HostError>> {
        self.begin(Until::PluginsAreUp)
    }

    /// Like [`HostBuilder::build`], but the host is there as soon as the plugins are found, while they are built and
    /// loaded: [`EventKind::HostStarted`](crate::EventKind::HostStarted) tells when that is done, and [`Host::shutdown`] cuts it short.
    ///
    /// # Errors
    ///
    /// As [`HostBuilder::build`].
    pub fn launch(self) -> Pending<Result<Host, HostError>> {
        self.begin(Until::PluginsAreFound)
    }

    fn begin(self, until: Until) -> Pending<Result<Host, HostError>> {
        let (answer, receiver) = oneshot::channel();
        let pending = Pending::new(receiver, || Err(HostError::ShutDown));
        let runtime =
            // Threads that called a plugin keep it from being unmapped.
            runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("replug")
                .thread_keep_alive(Duration::from_millis(500))
                .enable_all()
                .build();
        match runtime {
            Ok(runtime) => {
                let handle = runtime.handle().clone();
                handle.spawn(async move {
                    // No one waits for a host that no one wants.
                    let _ = answer.send(start(self, runtime, until).await);
                });
            }
            Err(error) => {
                let _ = answer.send(Err(HostError::Threads(error.to_string())));
            }
        }
        pending
    }
}

/// How far a host has come when it is handed over.
enum Until {
    PluginsAreFound,
    PluginsAreUp,
}

async fn start(builder: HostBuilder, runtime: Runtime, until: Until) -> Result<Host, HostError> {
    let made = match prepare(builder).await {
        Ok(made) => made,
        Err(error) => {
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let host = Host::of(made.context, made.workers, runtime);
    host.attach(made.attachments).await;
    if let Until::PluginsAreUp = until {
        let _ = made.up.await; // Broken off only with the runtime, and so with this.
    }
    Ok(host)
}

/// All of a host but its threads.
struct Made {
    context: Arc<Context>,
    workers: Arc<Mutex<WorkerHandles>>,
    /// Ends when the plugins that start with the host are up.
    up: tokio::task::JoinHandle<()>,
    attachments: Attachments,
}

/// The path by which a folder is found from now on, whatever the working directory: without links only if there are none,
/// since one that leads elsewhere later is followed.
fn lasting(folder: PathBuf) -> PathBuf {
    match std::path::absolute(&folder) {
        Ok(absolute) if !links_on(&absolute).is_empty() => absolute,
        _ => folder.canonicalize().unwrap_or(folder),
    }
}

async fn prepare(builder: HostBuilder) -> Result<Made, HostError> {
    fence::register()?;
    in_process::heed_children();
    let config = builder.config;
    let plugins_dir = config.plugins.clone().unwrap_or_else(|| DEFAULT_PLUGINS_DIR.into());
    // Watched before anything is read there: what changes in between is then seen twice, not never.
    let lasting_dir = lasting(plugins_dir.clone());
    let (notices, inbox) = mpsc::unbounded_channel();
    let watcher = config.watch.then(|| Watcher::new(&lasting_dir, live::poll(config.watch_poll), notices));
    let mut discovery =
        config.defaults.discover(&plugins_dir).map_err(|error| HostError::Plugins(Arc::new(error)))?;
    let watcher = watcher.transpose().map_err(|error| HostError::Watch(Arc::new(error)))?.map(Arc::new);
    let plugins_dir = lasting_dir;
    let state_dir = config.state_dir.clone().unwrap_or_else(|| settle_state_dir(&plugins_dir));
    let unusable = |reason: String| HostError::StateDir { path: state_dir.clone(), reason };
    let mut crashes = Vec::new();
    let state = StateDir::create(&state_dir, |run_dir| crashes.extend(crash_record::read(run_dir)))
        .map_err(|error| unusable(error.to_string()))?;
    parent::note_run(state.run());
    let program = match builder.shim_program {
        Some(path) => Ok(Program::at(path)),
        None if shim::is_offered() => Ok(Program::own()),
        None => Err(ProcessError::NoProgram),
    };
    let keep = || CrashRecord::keep(state.run(), program.as_ref().ok());
    let crash_record = builder.crash_record.then(keep);
    let crash_record = crash_record.and_then(|kept| kept.inspect_err(|error| tracing::warn!("{error}")).ok());
    let store = Store::open(state.artifacts())
        .inspect_err(|_| state.remove_run())
        .map_err(|error| unusable(error.to_string()))?;
    if let Ok(program) = &program {
        orphans::guarded_by(program.path());
    }
    // Before anything is started: if another host has the folder, this one is not to touch it.
    let mut attachments = builder.attachments;
    let rerun = program.as_ref().ok().map(Program::path);
    let starting = Starting::new((&plugins_dir, state.root()), rerun, &builder.events);
    attachments.bind(starting).await.inspect_err(|_| state.remove_run())?;
    let records = match builder.remember {
        true => Records::in_dir(state.records(), state.run(), config::host_lives),
        false => Records::nowhere(),
    };
    let unusable = discovery::restore(&mut discovery, &records, &config.defaults);
    let demotions = Demotions::read(state.demoted());
    let processes = if program.is_ok() { Processes::Possible } else { Processes::Impossible };
    let consequences = |crash| demotions.draw(crash, &discovery.manifests, processes);
    let crash_recovery = crashes.iter().filter_map(consequences).collect();
    let context = Arc::new(Context {
        program,
        demotions,
        checkpoints: Checkpoints::in_dir(state.checkpoints()),
        builder: Builder::new(BuildDir::with(config.state_dir.as_deref(), &state_dir)),
        records,
        store,
        state,
        crash_record,
        log_bound: LogBound::new(config.log.plugins),
        watchdog: Arc::default(),
        verdicts: Verdicts::default(),
        private_bytes: AtomicU64::new(0),
        retiring: watch::Sender::new(0),
        wanted: Mutex::default(),
        pruning: RwLock::default(),
        settings: Settings {
            plugins_dir,
            state_dir,
            auto_start: builder.auto_start,
            events: builder.events,
            config: Mutex::new(ConfigState { now: Arc::new(config), pending: Vec::new(), refused: None }),
        },
    });
    tokio::spawn(context.watchdog.clone().run(context.settings.events.downgrade()));
    let mut discovery_loop = DiscoveryLoop::new(context.clone(), watcher);
    let answers = discovery_loop.begin(discovery, unusable);
    let workers = discovery_loop.workers();
    let up =
        tokio::spawn(discovery::tell_when_up(context.clone(), workers.clone(), (answers, crash_recovery)));
    tokio::spawn(discovery_loop.run(inbox));
    Ok(Made { context, workers, up, attachments })
}
