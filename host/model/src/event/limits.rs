//! What bounds a plugin's process, as hosts tell it.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What bounds a plugin's process, and what does not though it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsInForce {
    /// The bounds, as read back from the kernel; one resource may be bounded twice, in two ways.
    pub bounds: Vec<Bound>,
    /// The cgroup that holds the process and all that it starts, wherever those go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// What is not as it was asked for, or weaker than one may think, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
}

/// One bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// Of what: `memory_bytes`, `cpu_seconds`, `open_files`, `file_size_bytes` or `processes`.
    pub of: String,
    /// How much, in the unit that `of` names. A hard limit of the system's may make it less than the manifest says.
    pub value: u64,
    /// Who sees to it.
    pub by: Enforcer,
}

/// What in the kernel sees to a [`Bound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcer {
    /// A resource limit, which each process has for itself.
    Rlimit,
    /// A cgroup, which binds the process and all that it starts together.
    Cgroup,
}
