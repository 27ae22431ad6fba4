//! The limits of a plugin's process, as hosts report them.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The limits of a plugin's process that are in force, and the requested limits that are not in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsInForce {
    /// The limits in force, as read back from the kernel. Two mechanisms may limit one resource.
    pub bounds: Vec<Bound>,
    /// The cgroup that contains the process and all processes that it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
    /// Requested limits that are not in force or are weaker than requested, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bound {
    /// The resource.
    pub of: LimitedResource,
    /// The limit, in the unit of the resource. It is lower than in the manifest if a hard limit of the system is lower.
    pub value: u64,
    /// The mechanism that enforces the limit.
    pub by: Enforcer,
}

/// A resource that a [`Bound`] limits. The variants are in the order of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitedResource {
    /// Processor time, in seconds.
    CpuSeconds,
    /// The length of a file, in bytes.
    FileSizeBytes,
    /// Memory, in bytes: the address space, or the used memory if a cgroup enforces the limit.
    MemoryBytes,
    /// The number of open files.
    OpenFiles,
    /// The number of processes and threads.
    Processes,
}

impl LimitedResource {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::CpuSeconds => "cpu_seconds",
            Self::FileSizeBytes => "file_size_bytes",
            Self::MemoryBytes => "memory_bytes",
            Self::OpenFiles => "open_files",
            Self::Processes => "processes",
        }
    }
}

/// The mechanism of the kernel that enforces a [`Bound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Enforcer {
    /// A resource limit (`setrlimit`), which applies to each process separately.
    Rlimit,
    /// A cgroup, which limits the process and all processes that it starts together.
    Cgroup,
}

impl Enforcer {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rlimit => "rlimit",
            Self::Cgroup => "cgroup",
        }
    }
}
