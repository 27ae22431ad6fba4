//! [`Host`]: the plugins of one folder, from the first discovery to the last stop.

mod weak;

pub use weak::WeakHost;

use crate::{
    attachment::Attachments,
    builder::HostBuilder,
    config::{HostConfig, Layers},
    discovery::WorkerHandles,
    error::HostError,
    event::{EventKind, EventSink, Events},
    handle::{DynHandle, Handle},
    id::{Digest, Generation},
    info::{PluginInfo, Version},
    live::{self, Applied, Followed, PendingConfig},
    manifest::Manifest,
    pending::Pending,
    reload::Context,
    snapshot::Metrics,
    suggest,
    worker::{Configured, Order, Reply, StartWhy, StopWhy, WorkerHandle},
};
use parking_lot::Mutex;
use replug_api::call::Interface;
use serde_json::{Map, Value};
use std::{path::Path, sync::Arc, time::Duration};
use tokio::{
    runtime::{self, Runtime},
    sync::{self, oneshot},
};

/// How long a shutdown waits for generations that were replaced before it.
const LAST_CALLS: Duration = Duration::from_secs(5);
/// How long a shutdown waits for what is attached to the host.
const ATTACHMENTS: Duration = Duration::from_secs(5);

/// The plugins of one folder, running in this process. Cheap to clone; all clones are the same host.
///
/// When the last clone is dropped without [`Host::shutdown`], builds and the watch end at once, and the plugins are
/// left as they are: neither stopped nor dropped.
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
    /// Held by a shutdown until they have drained.
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

    /// Lets what is attached to the host begin.
    pub(crate) async fn attach(&self, mut attachments: Attachments) {
        attachments.serve(&self.downgrade());
        *self.inner.attachments.lock().await = attachments;
    }

    /// The same host, without keeping it alive.
    pub fn downgrade(&self) -> WeakHost {
        WeakHost::of(&self.inner)
    }

    /// A host that is yet to be described.
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// A typed handle on a plugin. From then on, only versions that offer the interface in this form may serve.
    ///
    /// # Errors
    ///
    /// * [`HostError::UnknownPlugin`]; it names the nearest
    /// * [`HostError::Interface`] if the version that serves does not offer the interface in this form; says where they
    ///   differ
    pub fn get<I: Interface + ?Sized>(&self, id: &str) -> Result<Handle<I>, HostError> {
        let worker = self.worker(id)?;
        Ok(Handle::new(worker.entry.bound()?))
    }

    /// A handle that finds methods by name.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`]; it names the nearest.
    pub fn plugin(&self, id: &str) -> Result<DynHandle, HostError> {
        Ok(DynHandle::new(self.worker(id)?.entry, self.runtime()))
    }

    /// Handles on all plugins that serve and offer the interface, by id.
    pub fn find<I: Interface + ?Sized>(&self) -> Vec<Handle<I>> {
        let workers = self.inner.workers.lock();
        let serving = workers.all().filter(|worker| worker.entry.live().is_some());
        serving.filter_map(|worker| worker.entry.bound().ok().map(Handle::new)).collect()
    }

    /// All plugins that were found, by id.
    pub fn plugins(&self) -> Vec<PluginInfo> {
        let workers: Vec<_> = self.inner.workers.lock().all().cloned().collect();
        workers.iter().map(|worker| PluginInfo::of(worker, self.inner.context.builder.dir())).collect()
    }

    /// The plugin of that id.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`]; it names the nearest.
    pub fn info(&self, id: &str) -> Result<PluginInfo, HostError> {
        Ok(PluginInfo::of(&self.worker(id)?, self.inner.context.builder.dir()))
    }

    /// The manifest of the plugin, as it was accepted last.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`]; it names the nearest.
    pub fn manifest(&self, id: &str) -> Result<Arc<Manifest>, HostError> {
        Ok(self.worker(id)?.manifest.lock().clone())
    }

    /// All numbers that there are about the host, as they stand now.
    pub fn metrics(&self) -> Metrics {
        let workers: Vec<_> = self.inner.workers.lock().all().cloned().collect();
        Metrics::of(&self.inner.context, &workers)
    }

    /// The events from now on.
    pub fn events(&self) -> Events {
        self.inner.context.settings.events.subscribe()
    }

    /// Where the host's events are written, for a program that has something to add in their order.
    pub fn event_sink(&self) -> &EventSink {
        &self.inner.context.settings.events
    }

    /// The plugins folder.
    pub fn plugins_dir(&self) -> &Path {
        &self.inner.context.settings.plugins_dir
    }

    /// Tells the plugins what the program's `tracing` subscriber wants now. To be called after its filter has changed;
    /// what is loaded later asks by itself.
    pub fn log_level_changed(&self) {
        let wanted = self.inner.context.log_bound.wanted();
        for worker in self.inner.workers.lock().all() {
            if let Some(live) = worker.entry.live() {
                live.instance.set_max_level(wanted);
            }
        }
    }

    /// The configuration in effect.
    pub fn config(&self) -> HostConfig {
        HostConfig::clone(&self.inner.context.settings.now())
    }

    /// What the host was told by [`Host::apply`] or the layers that it [follows](Host::follow), and has not applied.
    pub fn pending_config(&self) -> PendingConfig {
        let told = self.inner.context.settings.config.lock();
        PendingConfig { refused: told.refused.clone(), restart_needed: told.pending.clone() }
    }

    /// Applies another configuration to the host, as far as that can be done without starting it again; the rest is
    /// said to need a restart. [`EventKind::ConfigChanged`] tells the same, if it makes a difference.
    ///
    /// New `[defaults]` reach a plugin when it has done what it is doing; its manifest is read again for that. Where the
    /// instance has to be another one, it is replaced by a new generation of the same artifact.
    pub fn apply(&self, config: &HostConfig) -> Applied {
        live::apply(&self.inner.context, &self.inner.workers, config)
    }

    /// From now on reads the layers again whenever their file changes, and does as [`Host::apply`]; before that, `adopt`
    /// hears of the configuration, for what the program itself takes from it, such as the log filter. A configuration
    /// that is wrong changes nothing: [`EventKind::ConfigRefused`] tells why.
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

    /// The versions of the plugin that it can go back to, the oldest first.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`]; it names the nearest.
    pub fn versions(&self, id: &str) -> Result<Vec<Version>, HostError> {
        Ok(Version::all(&self.worker(id)?))
    }

    /// Whether each plugin that starts with the host has come up or has said why not.
    pub fn is_up(&self) -> bool {
        let workers = self.inner.workers.lock();
        workers.up && !workers.shut_down
    }

    /// Builds the plugin, and lets the result serve as a new generation even if nothing has changed.
    ///
    /// # Errors
    ///
    /// * [`HostError::UnknownPlugin`]
    /// * [`HostError::Reload`] if it did not come to serve: the generation before it goes on
    pub fn reload(&self, id: &str) -> Pending<Result<Generation, HostError>> {
        self.order(id, Order::Reload)
    }

    /// Lets an earlier artifact serve again, as a new generation: the one named, or the last that was different.
    ///
    /// # Errors
    ///
    /// As [`Host::reload`], and [`HostError::WrongState`] if the plugin does not run.
    pub fn rollback(&self, id: &str, to: Option<Digest>) -> Pending<Result<Generation, HostError>> {
        self.order(id, |reply| Order::Rollback(to, reply))
    }

    /// Starts a plugin that does not run; one that does is left alone. A quarantine is lifted in either case. It begins with
    /// the state that was saved when it was stopped, and starts with the next host, too, whatever its manifest says.
    ///
    /// The version that served last comes up first; the answer comes when the source was built, and is the generation that
    /// serves then.
    ///
    /// # Errors
    ///
    /// As [`Host::reload`].
    pub fn start(&self, id: &str) -> Pending<Result<Generation, HostError>> {
        self.order(id, |reply| Order::Start(StartWhy::Asked, reply))
    }

    /// Takes no more calls for the plugin, waits for those that run up to its `drain_timeout`, saves its state for the next
    /// start, and ends it. It stays stopped until it is started, also in the hosts after this one.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`].
    pub fn stop(&self, id: &str) -> Pending<Result<(), HostError>> {
        self.order(id, |reply| Order::Stop(StopWhy::Asked, reply))
    }

    /// Stops the plugin like [`Host::stop`], and drops its state: it starts without one. If it does not run, the state that
    /// was saved when it was stopped is dropped.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`].
    pub fn stop_and_discard(&self, id: &str) -> Pending<Result<(), HostError>> {
        self.order(id, |reply| Order::Stop(StopWhy::Discarded, reply))
    }

    /// Stops the plugin like [`Host::stop`], and counts it among those that were never started.
    ///
    /// # Errors
    ///
    /// [`HostError::UnknownPlugin`].
    pub fn unregister(&self, id: &str) -> Pending<Result<(), HostError>> {
        self.order(id, |reply| Order::Stop(StopWhy::Unregistered, reply))
    }

    /// Gives the plugin another configuration than its manifest's. It holds until the manifest says another one or the
    /// host ends; the manifest is left as it is. What the plugin refuses changes nothing.
    ///
    /// # Errors
    ///
    /// * [`HostError::UnknownPlugin`]
    /// * [`HostError::Reload`] if the plugin refuses it
    pub fn configure(&self, id: &str, config: Map<String, Value>) -> Pending<Result<Configured, HostError>> {
        self.order(id, |reply| Order::Configure(config, reply))
    }

    /// Stops all plugins, the last that was taken in first, each with its state saved for the next host, and ends the host. Calls on handles that are left give
    /// [`CallError::NotRunning`](crate::CallError::NotRunning).
    pub fn shutdown(&self) -> Pending<()> {
        let (done, receiver) = oneshot::channel();
        let (workers, context) = (self.inner.workers.clone(), self.inner.context.clone());
        // Held until the end, even if the caller lets go of it.
        let host = self.clone();
        self.runtime().spawn(async move {
            let leaving: Vec<_> = {
                let mut workers = workers.lock();
                workers.shut_down = true;
                workers.last_first()
            };
            for worker in leaving {
                let (reply, answer) = oneshot::channel();
                if worker.orders.send(Order::Stop(StopWhy::ShutDown, reply)).is_ok() {
                    let _ = answer.await;
                }
            }
            // Generations that were replaced just before may still be on their way out.
            let mut retiring = context.retiring.subscribe();
            let _ = tokio::time::timeout(LAST_CALLS, retiring.wait_for(|count| *count == 0)).await;
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

    fn order<T: Send + 'static>(
        &self,
        id: &str,
        make: impl FnOnce(Reply<T>) -> Order,
    ) -> Pending<Result<T, HostError>> {
        let (reply, receiver) = oneshot::channel();
        match self.worker(id) {
            // If the worker is gone, so is the reply, and the answer is the one below.
            Ok(worker) => drop(worker.orders.send(make(reply))),
            Err(error) => drop(reply.send(Err(error))),
        }
        Pending::new(receiver, || Err(HostError::ShutDown))
    }

    fn worker(&self, id: &str) -> Result<WorkerHandle, HostError> {
        let workers = self.inner.workers.lock();
        workers.get(id).cloned().ok_or_else(|| HostError::UnknownPlugin {
            id: id.into(),
            suggestion: suggest::among(id, workers.all().map(|worker| worker.entry.id.as_str())),
        })
    }

    fn runtime(&self) -> runtime::Handle {
        let runtime = self.inner.runtime.as_ref().expect("taken only by the drop of the host");
        runtime.handle().clone()
    }
}
