//! [`HostBuilder`]: the settings of a host, and its start.

use crate::{
    artifact::Store,
    build::Builder,
    checkpoint::Checkpoints,
    config::{self, ConfigState, DEFAULT_PLUGINS_DIR, HostConfig, Settings, StateDir, settle_state_dir},
    context::Context,
    demotion::Demotions,
    discovery::{self, DiscoveryLoop, WorkerHandles},
    error::HostError,
    event::{EventSink, Events},
    guard,
    host::{Attachment, Attachments, Host, Starting},
    lifecycle::Processes,
    live,
    load::{LogBound, in_process, process::ProcessError},
    parent,
    pending::Pending,
    preflight::Verdicts,
    program::Program,
    record::Records,
    registry::{CrashRecord, crash_record, fence},
    shim,
    spare::SpareSlots,
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

/// The settings of a host. Made by [`Host::builder`].
#[derive(Debug)]
pub struct HostBuilder {
    config: HostConfig,
    build_dir: Option<BuildDir>,
    shim_program: Option<PathBuf>,
    auto_start: bool,
    crash_record: bool,
    remember: bool,
    events: EventSink,
    attachments: Attachments,
}

impl Host {
    /// A builder for a new host.
    pub fn builder() -> HostBuilder {
        HostBuilder {
            config: HostConfig::default(),
            build_dir: None,
            shim_program: None,
            auto_start: true,
            crash_record: true,
            remember: true,
            events: EventSink::new(),
            attachments: Attachments::default(),
        }
    }
}

impl HostBuilder {
    /// Replaces all settings with those of a configuration: see [`Layers`](crate::Layers). Later calls on this builder
    /// override the configuration.
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

    /// The folder in which the host keeps its files: builds, artifacts, the plugins' data. Default:
    /// [`default_state_dir`](crate::default_state_dir). If the plugins are in a cargo workspace, `cargo clean` removes
    /// the default folder.
    #[must_use]
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.config.state_dir = Some(dir.into());
        self
    }

    /// The folder in which cargo builds the plugins. A host with a state folder of its own can share the builds of another
    /// host. Default: see [`BuildDir::with`].
    #[must_use]
    pub fn build_dir(mut self, dir: BuildDir) -> Self {
        self.build_dir = Some(dir);
        self
    }

    /// The program that is executed for child processes of plugins, and for trials of new versions. Its `main` has to
    /// begin with a call to [`shim::run_if_asked`](crate::shim::run_if_asked). Default: this program, if its `main` has
    /// called that function.
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

    /// Whether the host starts plugins by itself. If not, each plugin waits for [`Host::start`]. If so, the last
    /// [`Host::start`] or [`Host::stop`] of a plugin, in this or an earlier host, decides whether the plugin is
    /// started. Without such a call, `auto_start` in its manifest decides. Default: yes.
    #[must_use]
    pub fn auto_start(mut self, auto_start: bool) -> Self {
        self.auto_start = auto_start;
        self
    }

    /// How many artifacts of each plugin to keep for rollbacks. Default: 10.
    #[must_use]
    pub fn keep_artifacts(mut self, count: usize) -> Self {
        self.config.keep_artifacts = count;
        self
    }

    /// How many bytes of private memory the mapped libraries of all generations may use, including retired generations.
    /// A version that would exceed the limit is not loaded into the host's process. Default: 1 GiB.
    #[must_use]
    pub fn retained_bytes_limit(mut self, bytes: u64) -> Self {
        self.config.retained_bytes_limit = bytes;
        self
    }

    /// Whether to keep a crash record: a file with the plugin that each thread currently runs. The next host reads the
    /// record to determine which plugin has crashed the process. In each process, the first host that keeps a crash
    /// record installs handlers for SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP and SIGSYS. A handler records the
    /// signal, and then the signal takes its normal effect. A program with its own handlers for these signals has to
    /// install them after the host was built. Default: yes.
    #[must_use]
    pub fn crash_record(mut self, keep: bool) -> Self {
        self.crash_record = keep;
        self
    }

    /// Whether the next host on the same state folder continues with the state of this host: the serving versions, the
    /// stopped plugins, the versions for rollbacks and the saved states of plugins. Set this to `false` for a host that
    /// is started for a single request: it then neither reads nor writes records. Default: yes.
    #[must_use]
    pub fn remember(mut self, remember: bool) -> Self {
        self.remember = remember;
        self
    }

    /// Attaches a component that starts and stops with the host, such as the control plane,
    /// `replug::control::Control`. Default: none.
    #[must_use]
    pub fn attach(mut self, attachment: impl Attachment) -> Self {
        self.attachments.add(attachment);
        self
    }

    /// The events from now on, including those of the start.
    pub fn events(&self) -> Events {
        self.events.subscribe()
    }

    /// Starts the host: finds the plugins, builds and loads them. If a plugin fails to start, the host still starts,
    /// and [`Host::plugins`] and the events report the error.
    ///
    /// A version that served before is loaded from the store, and its source is built afterwards. Usually, the host
    /// does not wait for that build. It does if the version served in a different program, or if this program was
    /// rebuilt since, because the program's interfaces may have changed.
    ///
    /// # Errors
    ///
    /// * [`HostError::Plugins`] if the plugins folder cannot be read
    /// * [`HostError::StateDir`] if the state folder cannot be created or used
    /// * [`HostError::Watch`] if [`watch`](HostBuilder::watch) is set and the plugins folder cannot be watched
    /// * [`HostError::Kernel`] if the kernel lacks `membarrier`
    /// * [`HostError::Threads`] if the threads of the host cannot be started
    /// * [`HostError::Attachment`] if an [attachment](HostBuilder::attach) fails to bind: for example, if the control
    ///   plane cannot listen, or if another host already serves the plugins folder
    pub fn build(self) -> Pending<Result<Host, HostError>> {
        self.begin(Until::PluginsAreUp)
    }

    /// Like [`HostBuilder::build`], but returns the host as soon as the plugins are found, before they are built and
    /// loaded. [`EventKind::HostStarted`](crate::EventKind::HostStarted) reports that each plugin has started or has
    /// failed to start. [`Host::shutdown`] cancels builds that still run.
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
            // Threads for blocking work exit soon after the work, so that an idle host has few threads.
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
                    // An error means that the caller has dropped the `Pending`. The host is dropped with it.
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

/// The point in the start sequence at which the caller gets the host.
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
        let _ = made.up.await; // Fails only if the runtime shuts down, which cancels this task, too.
    }
    Ok(host)
}

/// The parts of a host, without the runtime that runs its threads.
struct Made {
    context: Arc<Context>,
    workers: Arc<Mutex<WorkerHandles>>,
    /// Ends when each plugin that starts with the host has started or has failed to start.
    up: tokio::task::JoinHandle<()>,
    attachments: Attachments,
}

/// An absolute path of the folder, which stays valid if the working directory changes. Links in the path are not
/// resolved, because the host follows a link whose target changes.
fn lasting(folder: PathBuf) -> PathBuf {
    match std::path::absolute(&folder) {
        Ok(absolute) if !links_on(&absolute).is_empty() => absolute,
        _ => folder.canonicalize().unwrap_or(folder),
    }
}

async fn prepare(builder: HostBuilder) -> Result<Made, HostError> {
    fence::register()?;
    in_process::restore_sigchld();
    let config = builder.config;
    let plugins_dir = config.plugins.clone().unwrap_or_else(|| DEFAULT_PLUGINS_DIR.into());
    // The folder is watched before it is read, so that no change in between is missed.
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
    let create = || CrashRecord::create(state.run(), program.as_ref().ok());
    let crash_record = builder.crash_record.then(create);
    let crash_record =
        crash_record.and_then(|record| record.inspect_err(|error| tracing::warn!("{error}")).ok());
    let store = Store::open(state.artifacts())
        .inspect_err(|_| state.remove_run())
        .map_err(|error| unusable(error.to_string()))?;
    if let Ok(program) = &program {
        guard::guarded_by(program.path());
    }
    // The attachments are bound before a plugin is started: if another host serves the folder, binding fails, and this
    // host must not change the folder.
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
    let consequences = |crash| demotions.handle_crash(crash, &discovery.manifests, processes);
    let crash_events = crashes.iter().filter_map(consequences).collect();
    let default_build_dir = || BuildDir::with(config.state_dir.as_deref(), &state_dir);
    let context = Arc::new(Context {
        program,
        demotions,
        checkpoints: Checkpoints::in_dir(state.checkpoints()),
        builder: Builder::new(builder.build_dir.unwrap_or_else(default_build_dir)),
        records,
        store,
        state,
        crash_record,
        log_bound: LogBound::new(config.log.plugins),
        watchdog: Arc::default(),
        verdicts: Verdicts::default(),
        spare_slots: SpareSlots::default(),
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
    let up = tokio::spawn(discovery::emit_when_up(context.clone(), workers.clone(), (answers, crash_events)));
    tokio::spawn(discovery_loop.run(inbox));
    Ok(Made { context, workers, up, attachments })
}
