//! A trial: a new version does everything that it will do when it is loaded, in a process that is thrown away. What
//! crashes, hangs, exits or refuses there never comes into the host.

use super::{
    child::{Child, Start},
    error::ProcessError,
    instance::{Birth, Instance, Purpose, lifecycle},
};
use crate::load::LifecycleError;
use replug_wire as wire;

/// How a trial went wrong. The host never loaded the file.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TrialError {
    /// The process did not come as far as to have an instance, or ended.
    #[error("on trial, {0}")]
    Process(#[from] ProcessError),
    /// A step of its life went wrong.
    #[error("on trial, {0}")]
    Lifecycle(#[from] LifecycleError),
    /// It says that it is not well.
    #[error("the health check failed in the trial: {0}")]
    Unwell(String),
}

replug_model::readable::readable!(TrialError);

/// What a trial has found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialReport {
    /// Whether a panic in it unwinds. Otherwise, one ends the process.
    pub panic_unwinds: bool,
}

/// A saved state: the version that saved it, and what it saved.
pub type SavedBy = (u32, Vec<u8>);

/// Opens a new version and checks it, and runs nothing of the author's but its constructors.
pub fn open_only(start: Start<'_>, birth: Birth) -> Result<TrialReport, TrialError> {
    let child = Child::start(start)?;
    let load = wire::Load { path: birth.path, shared_std: birth.shared_std, limits: child.rlimits() };
    let loaded = child.ask("load", birth.step_timeout, |control| control.load(load))?;
    Ok(TrialReport { panic_unwinds: loaded.panic_unwinds })
}

/// Runs a new version through its beginning.
pub fn try_out(start: Start<'_>, birth: Birth, state: Option<SavedBy>) -> Result<TrialReport, TrialError> {
    let plugin = birth.id.as_str().to_owned();
    let refused = |error| match error {
        error @ ProcessError::Refused(wire::Failure::Life { .. }) => {
            TrialError::Lifecycle(lifecycle(&plugin, "init", error))
        }
        other => other.into(),
    };
    let instance = Instance::create(start, birth, Purpose::Trial).map_err(refused)?;
    if let (true, Some((version, state))) = (instance.stateful(), state) {
        instance.restore(version, &state)?;
    }
    let (healthy, message) = instance.health()?;
    if !healthy {
        return Err(TrialError::Unwell(message));
    }
    let tried = TrialReport { panic_unwinds: instance.panic_unwinds() };
    // What its drop does does not matter; that it ends well does.
    instance.destroy()?;
    Ok(tried)
}
