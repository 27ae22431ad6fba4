//! A plugin in a child process, with the same lifecycle steps as a plugin in this process.

use super::{
    child::{Child, Start},
    error::ProcessError,
    interfaces::RemoteInterface,
};
use crate::{
    interface::Offered,
    load::{reporter::ReportSink, warn},
    process_usage::ProcessUsage,
    registry::{
        ColumnLease, OneIn, Successor,
        body::{Body, LifecycleError, Retire, Traits},
    },
};
use replug_api::{describe::Interface, remote::RemoteObject};
use replug_model::{
    copy::libraries_of_copy,
    event::{LimitsInForce, RetireOutcome},
    id::{Generation, PluginId},
    limits::{LaneInUse, LimitsSpec},
    step::Step,
};
use replug_wire::{self as wire, Failure, Level};
use std::{fs, path::PathBuf, sync::Arc, time::Duration};

/// The parameters for starting a plugin in a child process.
pub struct InstanceSpec {
    /// The plugin.
    pub id: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The private copy of the artifact.
    pub path: PathBuf,
    /// The standard library that the artifact links, if it is a shared one.
    pub shared_std: Option<PathBuf>,
    /// The folder for the plugin's own data.
    pub data_dir: PathBuf,
    /// `[config]` as JSON.
    pub config: String,
    /// How long a lifecycle step may take.
    pub step_timeout: Duration,
    /// The time limit of each call, after which its caller gets an error; `None` if calls have no limit.
    pub call_timeout: Option<Duration>,
    /// How long a call may take to return after its cancellation. After this time, the process is killed.
    pub cancel_grace: Duration,
}

/// A plugin in a child process. Dropping this value kills the process.
pub(crate) struct Instance {
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
}

impl Instance {
    /// Starts a process, loads the artifact in it, and runs `Plugin::init`.
    pub(crate) fn create(
        start: Start<'_>,
        spec: InstanceSpec,
        purpose: Purpose,
    ) -> Result<Self, ProcessError> {
        let (trial, successor) = match purpose {
            Purpose::Serve(successor) => (false, Some(successor)),
            Purpose::Trial => (true, None),
        };
        let max_level = start.reporter.max_level();
        let child = Arc::new(Child::start(start)?);
        let InstanceSpec { id, generation, path, shared_std, data_dir, config, step_timeout, .. } = spec;
        let InstanceSpec { call_timeout, cancel_grace, .. } = spec;
        let load = wire::Load { path: path.clone(), shared_std, limits: child.rlimits() };
        let loaded = child.ask(Step::Load, step_timeout, |control| control.load(load))?;
        let limits = child.limits_in_force();
        let create = wire::Create { id: id.clone(), generation, data_dir, config, trial, max_level };
        child.ask(Step::Init, step_timeout, |control| control.create(create))?;
        let plugin = id.as_str().to_owned();
        let offered = (0..).zip(&loaded.interfaces).map(|(index, described)| {
            let description: Interface = serde_json::from_str(&described.description).map_err(|error| {
                ProcessError::Garbled(format!(
                    "the description of `{}` cannot be read: {error}",
                    described.name
                ))
            })?;
            let object = RemoteObject::new(RemoteInterface {
                child: child.clone(),
                plugin: id.clone(),
                generation,
                index,
                interface: description.clone(),
                call_timeout,
                cancel_grace,
                successor: successor.clone(),
            });
            Ok(Offered::elsewhere(description, object))
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
        })
    }

    /// Whether a panic in the plugin unwinds.
    pub(super) fn panic_unwinds(&self) -> bool {
        self.panic_unwinds
    }

    /// Drops the author's value, and terminates the process.
    pub(super) fn destroy(self) -> Result<(), LifecycleError> {
        self.child.expect_end();
        if self.child.is_dead() {
            return Ok(());
        }
        self.step(Step::Drop, |control| control.destroy())
    }

    fn step<T>(
        &self,
        step: Step,
        ask: impl FnOnce(&mut wire::ControlConnection) -> Result<T, wire::RequestError>,
    ) -> Result<T, LifecycleError> {
        let asked = self.child.ask(step, self.step_timeout, ask);
        asked.map_err(|error| lifecycle(&self.plugin, step, error))
    }
}

impl Body for Instance {
    fn traits(&self) -> Traits {
        Traits {
            outside_the_process: true,
            attributable: false,
            interruptible: true,
            steps_have_a_deadline: true,
            settings_are_fixed: true,
            timed_one_in: OneIn::ONE,
        }
    }

    fn offered(&self) -> &[Offered] {
        &self.offered
    }

    fn stateful(&self) -> bool {
        self.stateful
    }

    fn state_version(&self) -> u32 {
        self.state_version
    }

    fn start(&self) -> Result<(), LifecycleError> {
        self.step(Step::Start, |control| control.start())
    }

    fn stop(&self) -> Result<(), LifecycleError> {
        self.step(Step::Stop, |control| control.stop())
    }

    fn health(&self) -> Result<(bool, String), LifecycleError> {
        let health = self.step(Step::Health, |control| control.health())?;
        Ok((health.healthy, health.message))
    }

    fn configure(&self, config: &str) -> Result<(), LifecycleError> {
        self.step(Step::OnConfig, |control| control.configure(config))
    }

    fn save(&self) -> Result<Vec<u8>, LifecycleError> {
        self.step(Step::Save, |control| control.save())
    }

    fn restore(&self, from_version: u32, state: &[u8]) -> Result<(), LifecycleError> {
        self.step(Step::Restore, |control| control.restore(from_version, state.to_vec()))
    }

    fn set_max_level(&self, level: Level) {
        // If this fails, the plugin keeps its level.
        let _ = self.child.service(|service| service.set_max_level(level));
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }

    fn limits(&self, _: LimitsSpec) -> Option<LimitsInForce> {
        Some(self.limits.clone())
    }

    fn process_id(&self) -> Option<u32> {
        Some(self.child.pid())
    }

    fn usage(&self) -> Option<ProcessUsage> {
        self.child.usage()
    }

    fn lane(&self) -> Option<LaneInUse> {
        self.child.lanes.in_use()
    }

    /// Kills the process in which the calls run.
    fn interrupt(&self, reason: &str) {
        self.child.kill_because(reason);
    }

    fn retire(self: Box<Self>, how: Retire<'_>) -> RetireOutcome {
        // A dead process cannot run `Plugin::stop`, and its death has already been reported.
        if !self.child.is_dead() {
            warn(self.stop());
        }
        self.discard(how.lease);
        RetireOutcome::Ended
    }

    fn discard(self: Box<Self>, _: &ColumnLease) {
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_dir_all(libraries_of_copy(&self.path));
        warn(self.destroy());
    }
}

/// The purpose for which a process is started.
pub(crate) enum Purpose {
    /// To serve. The successor repeats calls that did not reach the process because it was dead.
    Serve(Successor),
    /// To run a trial. The process is terminated afterwards.
    Trial,
}

/// Converts the error of a step to the form that the steps of a plugin in this process return.
pub(super) fn lifecycle(plugin: &str, step: Step, error: ProcessError) -> LifecycleError {
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
