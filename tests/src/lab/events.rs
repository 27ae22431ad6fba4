//! Waits for events of a host. Several tests use each of these functions.

use super::Lab;
use replug::{
    Digest, Event, EventKind, Events, Generation,
    event::{Diagnostic, RetireOutcome, Stage},
};
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
};

/// The content of the event that reports that a plugin's process has ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crashed {
    /// The generation.
    pub generation: Option<Generation>,
    /// The signal, if one ended it.
    pub signal: Option<String>,
    /// The exit status, if the process exited.
    pub exit: Option<i32>,
    /// When the process is started again; `None` if it is not.
    pub restart_in_ms: Option<u64>,
    /// The last lines that the process wrote to its standard error.
    pub stderr_tail: String,
}

impl Lab {
    /// Waits for an event for which `pick` returns a value.
    ///
    /// # Panics
    ///
    /// If the host ends before such an event, or a build fails: what the test waits for may never happen then. A test
    /// that expects the failure waits for it first.
    pub fn wait_for<T>(&mut self, pick: impl Fn(&Event) -> Option<T>) -> T {
        loop {
            let event =
                self.events.as_mut().expect("a host").next_blocking().expect("the host keeps running");
            self.note(&event);
            if let Some(picked) = pick(&event) {
                return picked;
            }
            if let EventKind::BuildFailed { error, diagnostics } = &event.kind {
                let rendered: Vec<_> = diagnostics.iter().map(|it| &*it.rendered).collect();
                panic!("a build failed that the test expects to succeed: {error}\n{}", rendered.join("\n"));
            }
        }
    }

    /// The events so far that the test has not read yet.
    pub fn told_since(&mut self) -> Vec<Arc<Event>> {
        let mut observed = Vec::new();
        while let Some(event) = self.events.as_mut().and_then(Events::try_next) {
            self.note(&event);
            observed.push(event);
        }
        observed
    }

    fn note(&self, event: &Event) {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{event:?}"));
    }

    /// Waits until a new generation serves.
    ///
    /// # Panics
    ///
    /// As [`Lab::wait_for`], and if a new version is rejected after its build.
    pub fn reloaded(&mut self) -> (Generation, Digest) {
        self.wait_for(|event| match &event.kind {
            EventKind::Reloaded { .. } => event.generation.zip(event.digest),
            EventKind::ReloadFailed { stage, error, .. } => {
                panic!("a version was rejected that the test expects to serve, at {stage:?}: {error}")
            }
            _ => None,
        })
    }

    /// Waits until a new version serves, or was rejected, or could not be built: on a busy machine, the host may have
    /// built the first part of an edit alone.
    ///
    /// # Panics
    ///
    /// As [`Lab::wait_for`].
    pub fn attempted(&mut self) {
        self.wait_for(|event| match &event.kind {
            EventKind::Reloaded { .. } | EventKind::ReloadFailed { .. } | EventKind::BuildFailed { .. } => {
                Some(())
            }
            _ => None,
        });
    }

    /// Waits until a new version has been rejected after its build. Returns the stage and the error.
    pub fn reload_failed(&mut self) -> (Stage, String) {
        self.wait_for(|event| match &event.kind {
            EventKind::ReloadFailed { stage, error, .. } => Some((*stage, error.clone())),
            _ => None,
        })
    }

    /// Waits until a new configuration has been rejected. Returns the file at fault, if there is one, and the error.
    pub fn configure_failed(&mut self) -> (Option<PathBuf>, String) {
        self.wait_for(|event| match &event.kind {
            EventKind::ConfigureFailed { file, error, .. } => Some((file.clone(), error.clone())),
            _ => None,
        })
    }

    /// Waits until a build has failed.
    pub fn build_failed(&mut self) -> (String, Vec<Diagnostic>) {
        self.wait_for(|event| match &event.kind {
            EventKind::BuildFailed { error, diagnostics } => Some((error.clone(), diagnostics.clone())),
            _ => None,
        })
    }

    /// Waits until an old generation has retired.
    pub fn retired(&mut self) -> (Generation, RetireOutcome) {
        self.wait_for(|event| match event.kind {
            EventKind::GenerationRetired { outcome } => {
                event.generation.map(|generation| (generation, outcome))
            }
            _ => None,
        })
    }

    /// Waits until the process of the test's plugin has ended by itself.
    pub fn crashed(&mut self) -> Crashed {
        let id = self.id();
        self.wait_for(|event| match &event.kind {
            EventKind::PluginCrashed { signal, exit, restart_in_ms, stderr_tail, .. } => {
                let is_own = event.plugin.as_ref().is_some_and(|plugin| plugin.as_str() == id);
                is_own.then(|| Crashed {
                    generation: event.generation,
                    signal: signal.clone(),
                    exit: *exit,
                    restart_in_ms: *restart_in_ms,
                    stderr_tail: stderr_tail.clone(),
                })
            }
            _ => None,
        })
    }

    /// Waits until a plugin's process has been started again, and returns how often the process had ended before.
    pub fn restarted(&mut self) -> usize {
        self.wait_for(|event| match event.kind {
            EventKind::PluginRestarted { deaths } => Some(deaths),
            _ => None,
        })
    }

    /// Waits until a plugin is quarantined, and returns the reason.
    pub fn quarantined(&mut self) -> String {
        self.wait_for(|event| match &event.kind {
            EventKind::PluginQuarantined { reason, .. } => Some(reason.clone()),
            _ => None,
        })
    }

    /// Waits until a problem with a manifest or a folder has been reported.
    pub fn discovery_failed(&mut self) -> String {
        self.wait_for(|event| match &event.kind {
            EventKind::DiscoveryFailed { error, .. } => Some(error.clone()),
            _ => None,
        })
    }
}
