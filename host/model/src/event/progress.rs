//! The progress of a build.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The progress of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildProgress {
    /// The number of units that cargo has finished. A crate is one unit, and its build script is another unit. `None`
    /// if the number is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// The number of units. `None` if the number is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The current work: the crates that are being compiled, or the reason why the build waits.
    pub doing: String,
}

/// Writes the progress in the form `37/53: serde, syn`.
impl fmt::Display for BuildProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.done, self.total) {
            (Some(done), Some(total)) if self.doing.is_empty() => write!(f, "{done}/{total}"),
            (Some(done), Some(total)) => write!(f, "{done}/{total}: {}", self.doing),
            _ => f.write_str(&self.doing),
        }
    }
}
