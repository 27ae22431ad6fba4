//! Applies changes of the configuration while the host runs. Some keys take effect immediately, other keys require a
//! restart, and an invalid configuration changes nothing.

use crate::{
    config::{HostConfig, Layers, WatchPoll},
    context::Context,
    discovery::WorkerHandles,
    error::HostError,
    event::EventKind,
    watch::{FileWatch, Poll},
    worker::Command,
};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use tokio::runtime;

/// The effect of a new configuration: see [`Host::apply`](crate::Host::apply).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// The keys whose new values take effect now.
    pub applied: Vec<String>,
    /// The keys whose new values take effect after a restart of the host.
    pub restart_needed: Vec<String>,
}

/// The settings that the host has not applied: see [`Host::pending_config`](crate::Host::pending_config).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PendingConfig {
    /// Why the latest configuration was rejected, with file, line and key. The previous configuration stays in effect.
    /// `None` if the latest configuration was accepted.
    pub refused: Option<String>,
    /// The keys whose new values take effect after a restart of the host.
    pub restart_needed: Vec<String>,
}

/// Applies the configuration to the host, and emits an event if the configuration changes anything.
pub(crate) fn apply(context: &Context, workers: &Mutex<WorkerHandles>, config: &HostConfig) -> Applied {
    let done = {
        let mut state = context.settings.config.lock();
        let mut now = HostConfig::clone(&state.now);
        let (applied, restart_needed) = now.apply(config);
        // After a rejected configuration, a valid one is reported even if it changes nothing.
        let was_refused = state.refused.take().is_some();
        if applied.is_empty() && restart_needed == state.pending && !was_refused {
            return Applied { applied, restart_needed };
        }
        state.now = Arc::new(now);
        state.pending.clone_from(&restart_needed);
        Applied { applied, restart_needed }
    };
    context.log_bound.set(context.settings.now().log.plugins);
    let Applied { applied, restart_needed } = done.clone();
    context.settings.events.host(EventKind::ConfigChanged { applied, restart_needed });
    let concerns = |table: &str| done.applied.iter().any(|key| key.starts_with(table));
    for worker in workers.lock().all() {
        if concerns("defaults.") {
            // An error means that the host has ended.
            let _ = worker.commands.send(Command::NewDefaults);
        }
        if concerns("log.")
            && let Some(live) = worker.entry.live()
        {
            live.set_max_level(context.log_bound.wanted());
        }
    }
    done
}

/// The mode of the watcher for the key `watch_poll`.
pub(crate) fn poll(setting: WatchPoll) -> Poll {
    match setting {
        WatchPoll::Auto => Poll::Auto,
        WatchPoll::Never => Poll::Never,
        WatchPoll::Every(interval) => Poll::Every(interval),
    }
}

/// Weak references to the parts of a host that [`follow`] uses.
pub(crate) struct Followed {
    pub(crate) context: Weak<Context>,
    pub(crate) workers: Weak<Mutex<WorkerHandles>>,
}

/// Reads and applies the layers now and whenever their file changes.
pub(crate) fn follow(
    host: Followed,
    layers: Layers,
    adopt: impl Fn(&HostConfig) + Send + 'static,
    runtime: &runtime::Handle,
) -> Result<(), HostError> {
    let _inside = runtime.enter();
    let setting = host.context.upgrade().map(|context| context.settings.now().watch_poll).unwrap_or_default();
    let poll = poll(setting);
    let mut file = FileWatch::new(layers.files(), poll).map_err(|error| HostError::Watch(Arc::new(error)))?;
    runtime.spawn(async move {
        // The first round does not wait, because the file may have changed since it was first read.
        loop {
            let (Some(context), Some(workers)) = (host.context.upgrade(), host.workers.upgrade()) else {
                return;
            };
            match layers.read() {
                Ok(config) => {
                    adopt(&config);
                    apply(&context, &workers, &config);
                }
                Err(error) => {
                    let error = error.to_string();
                    let before = context.settings.config.lock().refused.replace(error.clone());
                    if before.as_ref() != Some(&error) {
                        context.settings.events.host(EventKind::ConfigRefused { error });
                    }
                }
            }
            drop((context, workers));
            file.changed().await;
        }
    });
    Ok(())
}
