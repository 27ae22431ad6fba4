//! The kernel's resource limits of this process. The host sets further limits with a cgroup, in
//! `host/runtime/src/load/process/cgroup.rs`.

use replug_wire::{Failure, Limits};
use rustix::{
    io::Result,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::fs;

/// Turns core dumps off: processes of plugins crash now and then, and a core dump may contain secrets.
pub(super) fn no_core() -> Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
}

/// Makes sure that a protection of the host from the kernel's out-of-memory killer does not protect the plugin's
/// process. The protection is a negative `oom_score_adj`, which the plugin's process inherits, so it is reset to 0.
pub(super) fn end_before_the_host() {
    const FILE: &str = "/proc/self/oom_score_adj";
    let inherited = fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if inherited.is_some_and(|it| it < 0) {
        // Every process may raise its own `oom_score_adj`, so this does not fail.
        let _ = fs::write(FILE, "0");
    }
}

/// Sets the limits permanently: they cannot be raised again.
pub(super) fn apply(limits: &Limits) -> std::result::Result<(), Failure> {
    let Limits { memory_bytes, cpu_seconds, open_files, file_size_bytes, processes } = *limits;
    let wanted = [
        (Resource::As, "memory", memory_bytes),
        (Resource::Cpu, "CPU time", cpu_seconds),
        (Resource::Nofile, "open files", open_files),
        (Resource::Fsize, "the file size", file_size_bytes),
        (Resource::Nproc, "processes", processes),
    ];
    for (resource, what, value) in wanted {
        let Some(value) = value else { continue };
        bound(resource, value).map_err(|error| Failure::Limit {
            what: what.into(),
            value,
            reason: error.to_string(),
        })?;
    }
    Ok(())
}

fn bound(resource: Resource, value: u64) -> Result<()> {
    // At the soft limit of CPU time, the kernel sends SIGXCPU, which shows the cause. At the hard limit, which is one
    // second later, it sends SIGKILL.
    let hard = if matches!(resource, Resource::Cpu) { value.saturating_add(1) } else { value };
    let allowed = getrlimit(resource).maximum;
    let within = |value: u64| Some(allowed.map_or(value, |allowed| allowed.min(value)));
    setrlimit(resource, Rlimit { current: within(value), maximum: within(hard) })
}
