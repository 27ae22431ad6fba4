//! [`Host`]: the running plugins of one folder, and the requests to them.

mod attachment;
mod weak;

pub(crate) use attachment::Attachments;
pub use attachment::{Attachment, BoxError, BoxFuture, Starting};
pub use weak::WeakHost;

use crate::{
    config::{HostConfig, Layers},
    context::Context,
    discovery::WorkerHandles,
    error::HostError,
    event::{EventKind, EventSink, Events},
    handle::{DynHandle, Handle},
    id::{Digest, Generation},
    info::{PluginInfo, Version},
    live::{self, Applied, Followed, PendingConfig},
    manifest::Manifest,
    pending::Pending,
    registry::give_back,
    snapshot::Metrics,
    suggest,
    worker::{Command, Configured, Reply, StartWhy, StopWhy, WorkerHandle},
};
use parking_lot::Mutex;
use replug_api::call::Interface;
use serde_json::{Map, Value};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    runtime::{self, Runtime},
    sync::{self, oneshot},
};

/// How long a shutdown waits for replaced generations that still run calls.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// How long a shutdown waits for the attachments of the host.
const ATTACHMENTS: Duration = Duration::from_secs(5);

/// The plugins of one folder, run by this process. Cheap to clone; all clones refer to the same host.
///
/// If the last clone is dropped without [`Host::shutdown`], builds and the watcher end immediately, and the plugins are
/// neither stopped nor dropped.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("plugins_dir", &self.inner.context.settings.plugins_dir)
            .finish_non_exhaustive()
    }
}

struct Inner {
    context: Arc<Context>,
    workers: Arc<Mutex<WorkerHandles>>,
    runtime: Option<Runtime>,
    /// A shutdown holds the lock while the attachments drain.
    attachments: sync::Mutex<Attachments>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.attachments.get_mut().close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        self.context.state.remove_run();
    }
}

impl Host {
    pub(crate) fn of(context: Arc<Context>, workers: Arc<Mutex<WorkerHandles>>, runtime: Runtime) -> Self {
        let attachments = sync::Mutex::default();
        Self { inner: Arc::new(Inner { context, workers, runtime: Some(runtime), attachments }) }
    }

    /// Starts the attachments of the host.
    pub(crate) async fn attach(&self, mut attachments: Attachments) {
        attachments.serve(&self.downgrade());
        *self.inner.attachments.lock().await = attachments;
    }

    /// A weak reference to this host.
    pub fn downgrade(&self) -> WeakHost {
        WeakHost::of(&self.inner)
    }

    /// A typed handle to a plugin. After this call, the host rejects versions that do not offer the interface with the
    /// signatures of `I`.
    ///
    /// # Errors
    ///
    /// * [`HostError::UnknownPlugin`], which names the most similar id
    /// * [`HostError::Interface`] if the serving version does not offer the interface with these signatures; the error
    ///   names the difference
    pub fn get<I: Interface + ?Sized>(&self, id: &str) -> Result<Handle<I>, HostError> {
        let worker = self.worker(id)?;
        Ok(Handle::new(worker.entry.bound()?))
    }

    /// A handle that finds methods by name.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`], which names the most similar id.
    pub fn plugin(&self, id: &str) -> Result<DynHandle, HostError> {
        Ok(DynHandle::new(self.of_worker(id, |worker| worker.entry.clone())?, self.runtime()))
    }

    /// Returns a handle to each plugin that serves and offers the interface, sorted by id.
    pub fn find<I: Interface + ?Sized>(&self) -> Vec<Handle<I>> {
        let workers = self.inner.workers.lock();
        let serving = workers.all().filter(|worker| worker.entry.live().is_some());
        serving.filter_map(|worker| worker.entry.bound().ok().map(Handle::new)).collect()
    }

    /// All existing plugins, sorted by id.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let workers: Vec<_> = self.inner.workers.lock().all().cloned().collect();
        workers.iter().map(|worker| PluginInfo::of(worker, self.inner.context.for_info())).collect()
    }

    /// The plugin with this id.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`], which names the most similar id.
    pub fn info(&self, id: &str) -> Result<PluginInfo, HostError> {
        Ok(PluginInfo::of(&self.worker(id)?, self.inner.context.for_info()))
    }

    /// The plugin's manifest that is in force.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`], which names the most similar id.
    pub fn manifest(&self, id: &str) -> Result<Arc<Manifest>, HostError> {
        self.of_worker(id, |worker| worker.manifest.lock().clone())
    }

    /// All metrics of the host, as of now.
    pub fn metrics(&self) -> Metrics {
        let workers: Vec<_> = self.inner.workers.lock().all().cloned().collect();
        Metrics::of(&self.inner.context, &workers)
    }

    /// The events from now on.
    pub fn events(&self) -> Events {
        self.inner.context.settings.events.subscribe()
    }

    /// The sink of the host's events, for a program that adds its own events to the stream.
    pub fn event_sink(&self) -> &EventSink {
        &self.inner.context.settings.events
    }

    /// The plugins folder.
    pub fn plugins_dir(&self) -> &Path {
        &self.inner.context.settings.plugins_dir
    }

    /// Sets the log level of all running plugins to the level that the program's `tracing` subscriber enables. Call
    /// this after the subscriber's filter has changed. Plugins that are loaded later get the new level when they are
    /// loaded.
    pub fn log_level_changed(&self) {
        let wanted = self.inner.context.log_bound.wanted();
        for worker in self.inner.workers.lock().all() {
            if let Some(live) = worker.entry.live() {
                live.set_max_level(wanted);
            }
        }
    }

    /// The configuration in effect.
    pub fn config(&self) -> HostConfig {
        HostConfig::clone(&self.inner.context.settings.now())
    }

    /// The part of the latest configuration that is not in effect: a rejected configuration, with the reason, or the
    /// keys that require a restart. The latest configuration comes from [`Host::apply`] or from the layers that the
    /// host [follows](Host::follow).
    pub fn pending_config(&self) -> PendingConfig {
        let state = self.inner.context.settings.config.lock();
        PendingConfig { refused: state.refused.clone(), restart_needed: state.pending.clone() }
    }

    /// Applies a new configuration to the host, as far as that is possible without a restart. The result lists the
    /// applied keys, and the keys that require a restart. If the configuration changes anything, the host emits
    /// [`EventKind::ConfigChanged`] with the same lists.
    ///
    /// If `[defaults]` has changed, each plugin's manifest is read again after the plugin's current command. If the new
    /// settings require a new instance, a new generation of the same artifact replaces the old generation.
    pub fn apply(&self, config: &HostConfig) -> Applied {
        live::apply(&self.inner.context, &self.inner.workers, config)
    }

    /// Reads the layers now and whenever their file changes, and applies them as [`Host::apply`] does. Before each
    /// configuration is applied, `adopt` is called with it, so that the program can apply its own settings, such as the
    /// log filter. An invalid configuration changes nothing, and the host emits [`EventKind::ConfigRefused`] with the
    /// reason.
    ///
    /// # Errors
    ///
    /// [`HostError::Watch`] if the file's folder cannot be watched.
    pub fn follow(
        &self,
        layers: Layers,
        adopt: impl Fn(&HostConfig) + Send + 'static,
    ) -> Result<(), HostError> {
        let inner = &self.inner;
        let host =
            Followed { context: Arc::downgrade(&inner.context), workers: Arc::downgrade(&inner.workers) };
        live::follow(host, layers, adopt, &self.runtime())
    }

    /// The versions to which the plugin can be rolled back, the oldest first.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`], which names the most similar id.
    pub fn versions(&self, id: &str) -> Result<Vec<Version>, HostError> {
        Ok(Version::all(&self.worker(id)?))
    }

    /// Whether each plugin that starts with the host has started or has failed to start.
    pub fn is_up(&self) -> bool {
        let workers = self.inner.workers.lock();
        workers.up && !workers.shut_down
    }

    /// Builds the plugin, and replaces the serving generation with the result, even if nothing has changed.
    ///
    /// # Errors
    ///
    /// * [`HostError::UnknownPlugin`]
    /// * [`HostError::Reload`] if the new version failed to start; the previous generation keeps serving
    /// * [`HostError::WrongState`] if a stop of the plugin was requested before the reload ended
    pub fn reload(&self, id: &str) -> Pending<Result<Generation, HostError>> {
        self.command(id, Command::Reload)
    }

    /// Rolls the plugin back to the artifact `to`, which serves as a new generation. If `to` is `None`, the target is
    /// the newest artifact that first served before the current artifact first served. Versions that `confirm` has
    /// rolled back are skipped.
    ///
    /// # Errors
    ///
    /// As [`Host::reload`], and also:
    ///
    /// * [`HostError::WrongState`] if the plugin does not run
    /// * [`HostError::NoEarlierVersion`] if `to` is `None` and there is no such artifact
    pub fn rollback(&self, id: &str, to: Option<Digest>) -> Pending<Result<Generation, HostError>> {
        self.command(id, |reply| Command::Rollback(to, reply))
    }

    /// Starts a plugin that does not run, with the state that was saved when it was stopped. A running plugin continues
    /// unchanged. In both cases, the plugin's quarantine ends, and later hosts also start the plugin, even if its
    /// manifest sets `auto_start = false`.
    ///
    /// The host starts the version that served last, and then builds the source. The returned value is ready after that
    /// build: it is the generation that serves then.
    ///
    /// # Errors
    ///
    /// As [`Host::reload`].
    pub fn start(&self, id: &str) -> Pending<Result<Generation, HostError>> {
        self.command(id, |reply| Command::Start(StartWhy::Asked, reply))
    }

    /// Rejects new calls of the plugin, waits for running calls up to its `drain_timeout`, saves its state for the next
    /// start, and ends its instance. Later hosts do not start the plugin until a user starts it.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`].
    pub fn stop(&self, id: &str) -> Pending<Result<(), HostError>> {
        self.command(id, |reply| Command::Stop(StopWhy::Asked, reply))
    }

    /// Stops the plugin like [`Host::stop`], but discards its state, so the next start begins without a state. If the
    /// plugin does not run, the state that was saved when it was stopped is discarded.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`].
    pub fn stop_and_discard(&self, id: &str) -> Pending<Result<(), HostError>> {
        self.command(id, |reply| Command::Stop(StopWhy::Discarded, reply))
    }

    /// Stops the plugin like [`Host::stop`], and resets its status to that of a plugin that was never started.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`].
    pub fn unregister(&self, id: &str) -> Pending<Result<(), HostError>> {
        self.command(id, |reply| Command::Stop(StopWhy::Unregistered, reply))
    }

    /// Overrides the configuration in the plugin's manifest until the manifest has a different configuration or the
    /// host ends. The host does not change the manifest. If the plugin rejects the configuration, nothing changes.
    ///
    /// # Errors
    ///
    /// * [`HostError::UnknownPlugin`]
    /// * [`HostError::Reload`] if the plugin rejects the configuration
    pub fn configure(&self, id: &str, config: Map<String, Value>) -> Pending<Result<Configured, HostError>> {
        self.command(id, |reply| Command::Configure(config, reply))
    }

    /// Stops all plugins in the reverse order of their addition, saves their states for the next host, and ends the
    /// host. Calls on remaining handles return [`CallError::NotRunning`](crate::CallError::NotRunning).
    pub fn shutdown(&self) -> Pending<()> {
        let (done, receiver) = oneshot::channel();
        let (workers, context) = (self.inner.workers.clone(), self.inner.context.clone());
        // The task keeps the host alive until the shutdown is complete, even if the caller drops the `Pending`.
        let host = self.clone();
        self.runtime().spawn(async move {
            let leaving: Vec<_> = {
                let mut workers = workers.lock();
                workers.shut_down = true;
                workers.last_first()
            };
            for worker in leaving {
                let (reply, answer) = oneshot::channel();
                if worker.commands.send(Command::Stop(StopWhy::ShutDown, reply)).is_ok() {
                    let _ = answer.await;
                }
            }
            // Replaced generations may still run calls.
            let mut retiring = context.retiring.subscribe();
            let _ = tokio::time::timeout(LAST_CALLS, retiring.wait_for(|count| *count == 0)).await;
            let _ = tokio::task::spawn_blocking(give_back).await;
            context.state.remove_run();
            let mut attachments = host.inner.attachments.lock().await;
            attachments.close();
            context.settings.events.host(EventKind::HostStopped);
            let _ = tokio::time::timeout(ATTACHMENTS, attachments.drained()).await;
            drop(attachments);
            drop(host);
            let _ = done.send(());
        });
        Pending::new(receiver, || ())
    }

    /// Sends a command to the worker of a plugin.
    fn command<T: Send + 'static>(
        &self,
        id: &str,
        make: impl FnOnce(Reply<T>) -> Command,
    ) -> Pending<Result<T, HostError>> {
        let (reply, receiver) = oneshot::channel();
        match self.worker(id) {
            // If the worker has ended, the reply is dropped, and `Pending` returns the error below.
            Ok(worker) => drop(worker.commands.send(make(reply))),
            Err(error) => drop(reply.send(Err(error))),
        }
        Pending::new(receiver, || Err(HostError::ShutDown))
    }

    fn worker(&self, id: &str) -> Result<WorkerHandle, HostError> {
        self.of_worker(id, WorkerHandle::clone)
    }

    /// Returns what `part` reads from the plugin's worker. This is cheaper than a clone of the whole worker handle.
    fn of_worker<T>(&self, id: &str, part: impl FnOnce(&WorkerHandle) -> T) -> Result<T, HostError> {
        let workers = self.inner.workers.lock();
        workers.get(id).map(part).ok_or_else(|| HostError::UnknownPlugin {
            id: id.into(),
            suggestion: suggest::among(id, workers.all().map(|worker| worker.entry.id.as_str())),
        })
    }

    fn runtime(&self) -> runtime::Handle {
        let runtime = self.inner.runtime.as_ref().expect("taken only by the drop of the host");
        runtime.handle().clone()
    }
}
