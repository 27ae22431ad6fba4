//! What loading says, in the form in which a shim tells it to the host, and back.

use super::in_process::{LifecycleError, LoadError, Opened};
use replug_wire::{Described, Failure, Loaded};

/// The steps of a plugin's life by the names that a [`LifecycleError`] gives them.
const STEPS: [&str; 9] =
    ["init", "start", "stop", "health", "on_config", "save", "restore", "drop", "describe"];

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        let LifecycleError { plugin: _, step, message, code, details } = error;
        Self::Life { step: step.into(), code, message, details }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Load { message: error.to_string() }
    }
}

impl LifecycleError {
    /// What a shim says of a step of the plugin's life.
    ///
    /// # Errors
    ///
    /// * The failure itself if it is of another kind.
    pub fn from_wire(plugin: &str, failure: Failure) -> Result<Self, Failure> {
        match failure {
            Failure::Life { step, code, message, details } => {
                match STEPS.iter().find(|known| **known == step) {
                    Some(step) => Ok(Self { plugin: plugin.into(), step, message, code, details }),
                    None => Err(Failure::Life { step, code, message, details }),
                }
            }
            other => Err(other),
        }
    }
}

impl Opened {
    /// What the library says of itself.
    pub(crate) fn describe(&self) -> Loaded {
        let descriptor = &self.descriptor;
        Loaded {
            api_version: descriptor.api_version.to_string(),
            package: descriptor.package.to_string(),
            version: descriptor.version.to_string(),
            stateful: descriptor.stateful,
            state_version: descriptor.state_version,
            panic_unwinds: descriptor.panic_unwinds,
            interfaces: self.interfaces(),
        }
    }

    fn interfaces(&self) -> Vec<Described> {
        let exports = self.root.interfaces()();
        exports
            .iter()
            .map(|export| Described {
                name: export.name.to_string(),
                description: (export.describe)().to_string(),
            })
            .collect()
    }
}
