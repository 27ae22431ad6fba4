//! The steps of a plugin's lifecycle.
//!
//! The crash record, the protocol between host and shim, errors and events all use this enum.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A step of a plugin's lifecycle, from the start of its process or the load of its library to the drop of its
/// instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The library is opened and checked.
    Load,
    /// `Plugin::init`
    Init,
    /// `Plugin::start`
    Start,
    /// `Plugin::stop`
    Stop,
    /// `Plugin::health`
    Health,
    /// `Plugin::on_config`
    OnConfig,
    /// `Plugin::save`
    Save,
    /// `Plugin::restore`
    Restore,
    /// The instance is dropped.
    Drop,
    /// The descriptions of the interfaces are read.
    Describe,
    /// A child process starts, and sends `Hello` to the host.
    Hello,
}

impl Step {
    /// All steps. The index of a step is its number in the crash record, so new steps are appended at the end.
    pub const ALL: [Self; 11] = [
        Self::Load,
        Self::Init,
        Self::Start,
        Self::Stop,
        Self::Health,
        Self::OnConfig,
        Self::Save,
        Self::Restore,
        Self::Drop,
        Self::Describe,
        Self::Hello,
    ];

    /// The name of the step in errors and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Init => "init",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Health => "health",
            Self::OnConfig => "on_config",
            Self::Save => "save",
            Self::Restore => "restore",
            Self::Drop => "drop",
            Self::Describe => "describe",
            Self::Hello => "hello",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_step_is_its_index_and_its_json_form_is_its_name() {
        for (number, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, number);
            assert_eq!(serde_json::to_value(step).unwrap(), step.to_string());
        }
    }
}
