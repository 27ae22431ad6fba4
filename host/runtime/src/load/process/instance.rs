//! A plugin in a child process, with the same steps of life as one in this process.

use super::{
    child::{Child, Start},
    error::ProcessError,
    faces::{Face, Successor},
    usage::ProcessUsage,
};
use crate::load::{
    LifecycleError, Method,
    in_process::{InterfaceMismatch, fit, missing},
    speaker::Listener,
};
use parking_lot::Mutex;
use replug_api::{
    abi::{BoundInterface, InterfaceExport},
    describe::Interface,
    remote::RemoteObject,
};
use replug_model::{
    event::LimitsInForce,
    id::{Generation, PluginId},
};
use replug_wire::{self as wire, Failure, Level};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What a plugin in a process is made with.
pub struct Birth {
    /// The plugin.
    pub id: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The private copy of the artifact.
    pub path: PathBuf,
    /// The standard library that it links, if that is a shared one.
    pub shared_std: Option<PathBuf>,
    /// A folder of the plugin's own.
    pub data_dir: PathBuf,
    /// `[config]` as JSON.
    pub config: String,
    /// How long a step of its life may take.
    pub step_timeout: Duration,
    /// How long a call may take before its caller is released.
    pub call_timeout: Option<Duration>,
    /// How long after its cancellation a call may take to end.
    pub cancel_grace: Duration,
    /// Takes the calls that a dead process no longer can.
    pub successor: Option<Successor>,
}

/// A plugin in a child process. Dropped, its process is killed.
pub struct Instance {
    plugin: String,
    child: Arc<Child>,
    path: PathBuf,
    stateful: bool,
    panic_unwinds: bool,
    state_version: u32,
    step_timeout: Duration,
    call_timeout: Option<Duration>,
    limits: LimitsInForce,
    offered: Vec<Offered>,
    /// Interfaces of the host's that were found to fit, and the place of the one that is offered.
    fitting: Mutex<Vec<(&'static InterfaceExport, usize)>>,
}

struct Offered {
    description: Interface,
    face: RemoteObject,
}

impl Instance {
    /// Starts a process, loads the artifact in it, and runs `Plugin::init`.
    pub fn create(start: Start<'_>, birth: Birth, trial: Purpose) -> Result<Self, ProcessError> {
        let max_level = start.speaker.max_level();
        let child = Arc::new(Child::start(start)?);
        let Birth { id, generation, path, shared_std, data_dir, config, step_timeout, .. } = birth;
        let Birth { call_timeout, cancel_grace, successor, .. } = birth;
        let load = wire::Load { path: path.clone(), shared_std, limits: child.rlimits() };
        let loaded = child.ask("load", step_timeout, |control| control.load(load))?;
        let limits = child.limits_in_force();
        let create = wire::Create {
            id: id.clone(),
            generation,
            data_dir,
            config,
            trial: trial == Purpose::Trial,
            max_level,
        };
        child.ask("init", step_timeout, |control| control.create(create))?;
        let plugin = id.as_str().to_owned();
        let offered = (0..).zip(&loaded.interfaces).map(|(index, described)| {
            let description: Interface = serde_json::from_str(&described.description).map_err(|error| {
                ProcessError::Garbled(format!(
                    "the description of `{}` cannot be read: {error}",
                    described.name
                ))
            })?;
            let face = RemoteObject::new(Face {
                child: child.clone(),
                plugin: id.clone(),
                generation,
                index,
                interface: description.clone(),
                call_timeout,
                cancel_grace,
                successor: successor.clone(),
            });
            Ok(Offered { description, face })
        });
        let offered = offered.collect::<Result<_, ProcessError>>()?;
        Ok(Self {
            plugin,
            child,
            path,
            stateful: loaded.stateful,
            panic_unwinds: loaded.panic_unwinds,
            state_version: loaded.state_version,
            step_timeout,
            call_timeout,
            limits,
            offered,
            fitting: Mutex::default(),
        })
    }

    pub(crate) fn stateful(&self) -> bool {
        self.stateful
    }

    pub(crate) fn state_version(&self) -> u32 {
        self.state_version
    }

    /// Whether a panic in it unwinds.
    pub(super) fn panic_unwinds(&self) -> bool {
        self.panic_unwinds
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// How long a call may take if its caller does not say.
    pub(crate) fn call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }

    /// What bounds it.
    pub(crate) fn limits(&self) -> &LimitsInForce {
        &self.limits
    }

    /// What its process takes of the machine; none once that has ended.
    pub(crate) fn usage(&self) -> Option<ProcessUsage> {
        self.child.usage()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.child.is_dead()
    }

    /// Kills its process, in which calls still run: their callers learn the reason.
    pub(crate) fn kill_because(&self, reason: &str) {
        self.child.kill_because(reason);
    }

    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.offered.iter().map(|offered| &offered.description)
    }

    pub(crate) fn interface(
        &self,
        wanted: &'static InterfaceExport,
    ) -> Result<BoundInterface, InterfaceMismatch> {
        let bound =
            |place: usize| BoundInterface { export: wanted, object: self.offered[place].face.object() };
        let mut fitting = self.fitting.lock();
        if let Some((_, place)) = fitting.iter().find(|(known, _)| std::ptr::eq(*known, wanted)) {
            return Ok(bound(*place));
        }
        let place = self.offered.iter().position(|offered| offered.description.name == wanted.name.as_str());
        let place = place.ok_or_else(|| missing(&self.plugin, wanted, self.interfaces()))?;
        fit(&self.plugin, wanted, (&self.offered[place].description, None))?;
        fitting.push((wanted, place));
        Ok(bound(place))
    }

    pub(crate) fn methods(&self) -> impl Iterator<Item = Method<'_>> {
        self.offered.iter().flat_map(|Offered { description, face }| {
            (0..description.methods.len() as u32)
                .map(move |index| Method::elsewhere(description, face, index))
        })
    }

    pub(crate) fn start(&self) -> Result<(), LifecycleError> {
        self.step("start", |control| control.start())
    }

    pub(crate) fn stop(&self) -> Result<(), LifecycleError> {
        self.step("stop", |control| control.stop())
    }

    pub(crate) fn health(&self) -> Result<(bool, String), LifecycleError> {
        let health = self.step("health", |control| control.health())?;
        Ok((health.healthy, health.message))
    }

    pub(crate) fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        self.step("on_config", |control| control.configure(config))
    }

    pub(crate) fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        self.step("save", |control| control.save())
    }

    pub(crate) fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        self.step("restore", |control| control.restore(from_version, state.to_vec()))
    }

    pub(crate) fn set_max_level(&self, level: Level) {
        // A plugin that cannot be told keeps the level that it has.
        let _ = self.child.service(|service| service.set_max_level(level));
    }

    /// Drops the author's value, and ends the process.
    pub(crate) fn destroy(self) -> Result<(), LifecycleError> {
        self.child.expect_end();
        if self.is_dead() {
            return Ok(());
        }
        self.step("drop", |control| control.destroy())
    }

    fn step<T>(
        &self,
        step: &'static str,
        ask: impl FnOnce(&mut wire::Control) -> Result<T, wire::ControlError>,
    ) -> Result<T, LifecycleError> {
        let asked = self.child.ask(step, self.step_timeout, ask);
        asked.map_err(|error| lifecycle(&self.plugin, step, error))
    }
}

/// What a process is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To serve.
    Serve,
    /// To be tried and thrown away.
    Trial,
}

/// The error of a step as that of a plugin in this process would be.
pub(super) fn lifecycle(plugin: &str, step: &'static str, error: ProcessError) -> LifecycleError {
    let plugin = plugin.to_owned();
    match error {
        ProcessError::Refused(Failure::Life { code, message, details, .. }) => {
            LifecycleError { plugin, step, message, code, details }
        }
        other => {
            let (code, details) = ("process".into(), String::new());
            LifecycleError { plugin, step, message: other.to_string(), code, details }
        }
    }
}
