//! Where a plugin's generations run, and the limits of a child process.

use serde::{Deserialize, Serialize};

/// Where a plugin's generations run: the key `mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// In the host's own process, except for artifacts that have crashed, that would exceed the host's limits, that
    /// need a different shared standard library, or in which a panic aborts the process. Such artifacts run in a child
    /// process.
    #[default]
    Auto,
    /// In the host's own process. An artifact that cannot run there is rejected.
    InProcess,
    /// In a child process.
    Process,
}

impl Mode {
    /// The value in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::InProcess => "in-process",
            Self::Process => "process",
        }
    }
}

/// The resource limits of a process. A limit that is `None` is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The maximum size of the address space, in bytes: `RLIMIT_AS`. An allocation beyond the limit fails, and most
    /// programs abort then.
    pub memory_bytes: Option<u64>,
    /// The maximum processor time, in seconds: `RLIMIT_CPU`. At the limit, the kernel sends `SIGXCPU` to the process,
    /// and `SIGKILL` a second later.
    pub cpu_seconds: Option<u64>,
    /// The maximum number of open files: `RLIMIT_NOFILE`.
    pub open_files: Option<u64>,
    /// The maximum length of a file that the process writes, in bytes: `RLIMIT_FSIZE`. A write beyond the limit raises
    /// `SIGXFSZ`, which terminates the process.
    pub file_size_bytes: Option<u64>,
    /// The maximum number of processes and threads of the user in total: `RLIMIT_NPROC`. Root is exempt.
    pub processes: Option<u64>,
}

/// The resource limits of a child process: the table `[limits]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsSpec {
    /// The limits.
    pub kernel: Limits,
    /// Whether a cgroup enforces the limits, too.
    pub cgroup: CgroupUse,
}

/// The keys of the table `[limits]`.
pub const LIMITS_KEYS: &[&str] = &["memory", "cpu_time", "open_files", "file_size", "processes", "cgroup"];

impl LimitsSpec {
    /// The keys that are set. `cgroup` counts as set only if its value is `required`.
    pub fn keys(self) -> Vec<&'static str> {
        let Limits { memory_bytes, cpu_seconds, open_files, file_size_bytes, processes } = self.kernel;
        let asked = [
            memory_bytes.is_some(),
            cpu_seconds.is_some(),
            open_files.is_some(),
            file_size_bytes.is_some(),
            processes.is_some(),
            self.cgroup == CgroupUse::Required,
        ];
        LIMITS_KEYS.iter().zip(asked).filter_map(|(key, asked)| asked.then_some(*key)).collect()
    }
}

/// Whether a child process gets its own cgroup: the key `limits.cgroup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupUse {
    /// The process gets no cgroup.
    Off,
    /// The process gets a cgroup if the host's own cgroup is delegated to the host. Otherwise, it runs without one, and
    /// the host reports which limits are not enforced.
    #[default]
    Preferred,
    /// The process gets a cgroup. If it cannot get one, the plugin does not start.
    Required,
}

/// A kind of lane: how calls and answers are passed to and from a child process. The key `process.lane`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneKind {
    /// In shared memory; long messages over a socket.
    #[default]
    SharedMemory,
    /// Over a socket.
    Socket,
}

impl LaneKind {
    /// The value in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::SharedMemory => "shared-memory",
            Self::Socket => "socket",
        }
    }
}

/// The kind of lane that calls to a child process use, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneInUse {
    /// The kind of lane.
    pub kind: LaneKind,
    /// Why this kind is used.
    pub reason: LaneReason,
}

/// Why a kind of lane is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LaneReason {
    /// It is the kind that the manifest sets, or the default.
    Requested,
    /// Shared memory was requested, but the host or the child process could not create or map it.
    NoMemory,
}

/// One variable of a process's environment: an item of the key `process.env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvVar {
    /// The host's own variable with this name, if it has one.
    Pass(String),
    /// A variable with this name and this value.
    Set(String, String),
}

impl EnvVar {
    /// The name of the variable.
    pub fn name(&self) -> &str {
        match self {
            Self::Pass(name) | Self::Set(name, _) => name,
        }
    }
}
