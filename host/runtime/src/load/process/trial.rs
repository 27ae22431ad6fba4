//! A trial: a new version runs `init`, `restore` and `health` in a throwaway process, which then drops the instance. A
//! version that crashes, hangs, exits or returns an error in its trial is never loaded into the host.

use super::{
    child::{Child, Start},
    error::ProcessError,
    instance::{Instance, InstanceSpec, Purpose, lifecycle},
};
use crate::registry::body::{Body as _, LifecycleError};
use replug_model::step::Step;
use replug_wire as wire;

/// Why a trial failed. The host does not load the version.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The process terminated, or no instance was created in it.
    #[error("in the trial, {0}")]
    Process(#[from] ProcessError),
    /// A lifecycle step failed.
    #[error("in the trial, {0}")]
    Lifecycle(#[from] LifecycleError),
    /// The health check of the version failed.
    #[error("the health check failed in the trial: {0}")]
    Unhealthy(String),
}

replug_model::readable::readable!(TrialError);

/// The result of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialReport {
    /// Whether a panic in the plugin unwinds. Otherwise, a panic aborts the process.
    pub panic_unwinds: bool,
}

/// A saved state: the state version in which it was saved, and its bytes.
pub type SavedBy = (u32, Vec<u8>);

/// Opens a new version in a throwaway process and checks it. Of the author's code, only the constructors of the library
/// run.
///
/// # Errors
///
/// * [`TrialError::Process`] if the version cannot be opened, or is rejected
pub fn open_only(start: Start<'_>, spec: InstanceSpec) -> Result<TrialReport, TrialError> {
    let child = Child::start(start)?;
    let load = wire::Load { path: spec.path, shared_std: spec.shared_std, limits: child.rlimits() };
    let loaded = child.ask(Step::Load, spec.step_timeout, |control| control.load(load))?;
    Ok(TrialReport { panic_unwinds: loaded.panic_unwinds })
}

/// Runs `init`, `restore` and `health` of a new version in a throwaway process, and drops the instance. Without a
/// state, or if the version keeps none, there is no `restore`.
///
/// # Errors
///
/// * [`TrialError`] if a step fails, the version is unhealthy, or its process terminates or hangs
pub fn try_out(
    start: Start<'_>,
    spec: InstanceSpec,
    state: Option<SavedBy>,
) -> Result<TrialReport, TrialError> {
    let plugin = spec.id.as_str().to_owned();
    let refused = |error| match error {
        error @ ProcessError::Refused(wire::Failure::Life { .. }) => {
            TrialError::Lifecycle(lifecycle(&plugin, Step::Init, error))
        }
        other => other.into(),
    };
    let instance = Instance::create(start, spec, Purpose::Trial).map_err(refused)?;
    if let (true, Some((version, state))) = (instance.stateful(), state) {
        instance.restore(version, &state)?;
    }
    let (healthy, message) = instance.health()?;
    if !healthy {
        return Err(TrialError::Unhealthy(message));
    }
    let tried = TrialReport { panic_unwinds: instance.panic_unwinds() };
    // Dropping the instance is a part of the trial, so its error is an error of the trial.
    instance.destroy()?;
    Ok(tried)
}
