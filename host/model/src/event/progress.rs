//! How far a build has come.

use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a build has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildProgress {
    /// How many of its units of work cargo has done; a crate is one, and so is its build script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// How many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What is done at the moment: the crates that are compiled, or what the build waits for.
    pub doing: String,
}

/// `37/53: serde, syn`
impl fmt::Display for BuildProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.done, self.total) {
            (Some(done), Some(total)) if self.doing.is_empty() => write!(f, "{done}/{total}"),
            (Some(done), Some(total)) => write!(f, "{done}/{total}: {}", self.doing),
            _ => f.write_str(&self.doing),
        }
    }
}
