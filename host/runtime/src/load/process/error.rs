//! Why a plugin's process did not do what it was to do.

use super::cgroup::CgroupError;
use replug_api::call::Death;
use replug_wire::Failure;
use std::{path::PathBuf, time::Duration};

/// Why a plugin's process did not do what it was to do.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program cannot be run again as a shim.
    #[error(
        "this program cannot run plugins in processes: call `replug::shim::run_if_asked()` first in its `main`, or name a \
         program that does with `HostBuilder::shim_program`"
    )]
    NoProgram,
    /// The process was not started.
    #[error("cannot start {program}: {reason}")]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        reason: String,
    },
    /// The process ended.
    #[error("its process {death} in `{step}`{}", tail(.stderr_tail))]
    Died {
        /// What it was doing.
        step: &'static str,
        /// How it ended.
        death: Death,
        /// The last lines of its standard error.
        stderr_tail: String,
    },
    /// The process did not answer in time, and was killed.
    #[error("`{step}` did not end within {}: its process was killed{}", humantime::format_duration(*.deadline), tail(.stderr_tail))]
    Hangs {
        /// What it was doing.
        step: &'static str,
        /// How long was waited.
        deadline: Duration,
        /// The last lines of its standard error.
        stderr_tail: String,
    },
    /// It was to have a cgroup of its own, and there is none.
    #[error("it must have a cgroup (`cgroup = \"required\"` in `[limits]`): {0}")]
    NoCgroup(#[from] CgroupError),
    /// The shim refused.
    #[error("{0}")]
    Refused(Failure),
    /// The shim does not speak as it should.
    #[error("its process was killed, because it broke the protocol: {0}")]
    Garbled(String),
}

replug_model::readable::readable!(ProcessError);

fn tail(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; it wrote: {}", stderr.replace('\n', " | ")) }
}
