//! How a plugin was built, as events report it.

use serde::{Deserialize, Serialize};

/// How a plugin was built, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildWay {
    /// What made the library.
    pub by: BuiltBy,
    /// The reason, in words.
    pub reason: String,
}

/// What made the library of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltBy {
    /// Cargo.
    Cargo,
    /// rustc, called as cargo has called it before. This takes less time than cargo.
    Rustc,
    /// The author's script.
    Script,
    /// Nothing: the library was already built.
    Prebuilt,
}
