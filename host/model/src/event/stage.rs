//! The stages of a reload, and their durations.

use serde::{Deserialize, Serialize};

/// The stages of a reload, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The time from the save to the start of the build.
    Detect,
    /// The build.
    Build,
    /// Copying into the store.
    Store,
    /// Reading and checking the artifact's file, and the trial.
    Preflight,
    /// Opening the artifact and creating the instance.
    Load,
    /// Handing over the state.
    Migrate,
    /// Swapping the new generation in: calls reach it from then on.
    Swap,
    /// Observing the calls of the new generation.
    Confirm,
}

impl Stage {
    /// The name of the stage in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Build => "build",
            Self::Store => "store",
            Self::Preflight => "preflight",
            Self::Load => "load",
            Self::Migrate => "migrate",
            Self::Swap => "swap",
            Self::Confirm => "confirm",
        }
    }
}

/// The duration of each stage of a reload up to the swap, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each field is the stage of the same name")]
pub struct Stages {
    pub detect: f64,
    pub build: f64,
    pub store: f64,
    pub preflight: f64,
    pub load: f64,
    pub migrate: f64,
    pub swap: f64,
}
