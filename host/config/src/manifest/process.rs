//! The keys `mode`, `[process]` and `[limits]`, which concern plugins in child processes, and `reload.preflight`.

use super::{
    ManifestError,
    fields::Fields,
    tree::{Node, Value},
};
pub use replug_model::limits::{CgroupUse, EnvVar, LaneKind, LaneReason, LimitsSpec, Mode};
use replug_model::limits::{LIMITS_KEYS, Limits};
use std::{path::Path, time::Duration};

pub(super) const PROCESS_KEYS: &[&str] = &[
    "call_timeout",
    "cancel_grace",
    "step_timeout",
    "restart_wait",
    "restart_pause",
    "max_deaths",
    "death_window",
    "env",
    "lane",
];

/// The smallest permitted values of limits, each with the reason. Below them, a process cannot start and run a call.
const LEAST_MEMORY_BYTES: (u64, &str) =
    (1 << 20, "a process needs more memory; write \"512MiB\", or a number of bytes");
const LEAST_OPEN_FILES: (u64, &str) =
    (16, "the process itself opens ten files, and one for each concurrent call; write 16 or more");
const LEAST_PROCESSES: (u64, &str) =
    (4, "the process itself has three threads, and one for each concurrent call; write 4 or more");

/// How a plugin in a child process is called and supervised: the table `[process]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessSpec {
    /// How long a call may take. After this time, the caller gets an error and the call is cancelled. `None`: there is
    /// no limit.
    pub call_timeout: Option<Duration>,
    /// How long a cancelled call may continue. After this time, the process is killed and restarted.
    pub cancel_grace: Duration,
    /// How long a lifecycle step (`init`, `save`, ...) may take.
    pub step_timeout: Duration,
    /// How long a call waits for a process that is being restarted. If zero, such a call fails immediately.
    pub restart_wait: Duration,
    /// The pause before the restart after a first failure. The pause doubles with each further failure. A failure is an
    /// unexpected exit of the process, or a failed restart.
    pub restart_pause: Duration,
    /// The number of failures within `death_window` after which the plugin is quarantined.
    pub max_deaths: u64,
    /// The time within which failures count toward `max_deaths`.
    pub death_window: Duration,
    /// The variables of the process's environment, in addition to the standard variables that every plugin's process
    /// gets.
    pub env: Vec<EnvVar>,
    /// How calls and answers are passed to and from the process.
    pub lane: LaneKind,
}

impl Default for ProcessSpec {
    fn default() -> Self {
        Self {
            call_timeout: None,
            cancel_grace: Duration::from_secs(1),
            step_timeout: Duration::from_secs(30),
            restart_wait: Duration::from_secs(5),
            restart_pause: Duration::from_millis(200),
            max_deaths: 5,
            death_window: Duration::from_secs(600),
            env: Vec::new(),
            lane: LaneKind::default(),
        }
    }
}

/// The trial of a new version in a throwaway process before it is loaded: the key `reload.preflight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trial {
    /// The trial runs `init`, `restore` with a copy of the state, and `health`, but not `start`.
    #[default]
    Full,
    /// The trial opens and checks the library. Of the library's code, only the ELF constructors run.
    Load,
    /// There is no trial.
    Off,
}

pub(super) fn mode(top: &Fields<'_>) -> Result<Mode, ManifestError> {
    if let Some(later @ ("wasm" | "grpc")) = top.string("mode")? {
        let reason = format!("valid modes are \"auto\", \"in-process\" and \"process\", not {later:?}");
        return Err(top.illegal("mode", reason));
    }
    let modes = [("auto", Mode::Auto), ("in-process", Mode::InProcess), ("process", Mode::Process)];
    Ok(top.word("mode", &modes)?.unwrap_or_default())
}

pub(super) fn process(file: &Path, node: Option<&Node>) -> Result<ProcessSpec, ManifestError> {
    let default = ProcessSpec::default();
    let Some(node) = node else { return Ok(default) };
    let table = Fields::open(file, "process.", node, PROCESS_KEYS)?;
    let max_deaths = table.count("max_deaths")?.unwrap_or(default.max_deaths);
    if max_deaths == 0 {
        return Err(table.illegal(
            "max_deaths",
            "with 0 the plugin would be quarantined before it starts; write 1 or more",
        ));
    }
    Ok(ProcessSpec {
        call_timeout: table.duration("call_timeout")?,
        cancel_grace: table.duration("cancel_grace")?.unwrap_or(default.cancel_grace),
        step_timeout: table.duration("step_timeout")?.unwrap_or(default.step_timeout),
        restart_wait: table.duration_or_zero("restart_wait")?.unwrap_or(default.restart_wait),
        restart_pause: table.duration("restart_pause")?.unwrap_or(default.restart_pause),
        max_deaths,
        death_window: table.duration("death_window")?.unwrap_or(default.death_window),
        env: env(file, &table)?,
        lane: table
            .word("lane", &[LaneKind::SharedMemory, LaneKind::Socket].map(|it| (it.name(), it)))?
            .unwrap_or_default(),
    })
}

/// Parses an item of the key `process.env`.
fn variable(text: &str) -> Result<EnvVar, String> {
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let first = name.chars().next();
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if first.is_none_or(|first| first.is_ascii_digit()) || !name.chars().all(is_name) {
        return Err(format!(
            "{text:?} is neither a name nor `NAME=value`; a name consists of letters, digits and `_`, such as \"DATABASE_URL\""
        ));
    }
    match value {
        Some(value) if value.contains('\0') => {
            Err(format!("the value of `{name}` contains a NUL; a variable cannot contain one"))
        }
        Some(value) => Ok(EnvVar::Set(name.into(), value.into())),
        None => Ok(EnvVar::Pass(name.into())),
    }
}

fn env(file: &Path, table: &Fields<'_>) -> Result<Vec<EnvVar>, ManifestError> {
    let mut variables: Vec<EnvVar> = Vec::new();
    for (text, line) in table.strings("env")?.iter().zip(table.lines("env")) {
        let illegal = |reason| ManifestError::IllegalValue {
            path: file.into(),
            line,
            key: "process.env".into(),
            reason,
        };
        let variable = variable(text).map_err(illegal)?;
        if variables.iter().any(|known| known.name() == variable.name()) {
            return Err(illegal(format!("`{}` is named twice; delete one of the two", variable.name())));
        }
        variables.push(variable);
    }
    Ok(variables)
}

pub(super) fn limits(file: &Path, node: Option<&Node>) -> Result<LimitsSpec, ManifestError> {
    let Some(node) = node else { return Ok(LimitsSpec::default()) };
    let table = Fields::open(file, "limits.", node, LIMITS_KEYS)?;
    let uses =
        [("off", CgroupUse::Off), ("preferred", CgroupUse::Preferred), ("required", CgroupUse::Required)];
    let cgroup = table.word("cgroup", &uses)?.unwrap_or_default();
    let at_least = |key, found: Option<u64>, (least, why)| match found {
        Some(found) if found < least => Err(table.illegal(key, format!("{found} is too small: {why}"))),
        found => Ok(found),
    };
    let kernel = Limits {
        memory_bytes: at_least("memory", size(&table, "memory")?, LEAST_MEMORY_BYTES)?,
        cpu_seconds: table.duration("cpu_time")?.map(|time| time.as_secs().max(1)),
        open_files: at_least("open_files", table.count("open_files")?, LEAST_OPEN_FILES)?,
        file_size_bytes: size(&table, "file_size")?,
        processes: at_least("processes", table.count("processes")?, LEAST_PROCESSES)?,
    };
    Ok(LimitsSpec { kernel, cgroup })
}

/// A size in bytes, given as a number of bytes or as text with a unit.
pub(crate) fn size(table: &Fields<'_>, key: &str) -> Result<Option<u64>, ManifestError> {
    let value =
        table.get(key, "a whole number of bytes, or text such as \"512MiB\"", |value| match value {
            Value::Integer(bytes) => u64::try_from(*bytes).ok().map(Ok),
            Value::String(text) => Some(Err(text)),
            _ => None,
        })?;
    let text = match value {
        None => return Ok(None),
        Some(Ok(bytes)) => return Ok(Some(bytes)),
        Some(Err(text)) => text,
    };
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let parsed = units.iter().find_map(|(unit, shift)| {
        let number: u64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        number.checked_mul(1 << shift)
    });
    parsed.map(Some).ok_or_else(|| {
        table.illegal(
            key,
            format!("{text:?} is not a size; write a number of bytes, or \"512MiB\" (KiB, MiB, GiB)"),
        )
    })
}
