//! Converts the results of loading to the form in which a shim sends them to the host.

use super::in_process::{LoadError, Opened};
use crate::registry::body::LifecycleError;
use replug_wire::{Described, Failure, Loaded};

impl From<LifecycleError> for Failure {
    fn from(error: LifecycleError) -> Self {
        let LifecycleError { plugin: _, step, message, code, details } = error;
        Self::Life { step, code, message, details }
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        Self::Load { message: error.to_string() }
    }
}

impl Opened {
    /// The plugin's own description of itself, in the form in which a shim sends it to the host.
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
