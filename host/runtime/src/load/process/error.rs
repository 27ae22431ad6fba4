//! The errors of a plugin's process.

use super::cgroup::CgroupError;
use replug_api::call::Death;
use replug_model::step::Step;
use replug_wire::Failure;
use std::{path::PathBuf, time::Duration};

/// Why a request to a plugin's process failed.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// This program cannot be run as a shim.
    #[error(
        "this program cannot run plugins in processes: call `replug::shim::run_if_asked()` first in its `main`, or use \
         `HostBuilder::shim_program` to name a program whose `main` does"
    )]
    NoProgram,
    /// The process was not started.
    #[error("cannot start {program}: {reason}")]
    Start {
        /// The program.
        program: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The process terminated.
    #[error("its process {death} in `{step}`{}", tail(.stderr_tail))]
    Died {
        /// The step that the process was running.
        step: Step,
        /// How the process terminated.
        death: Death,
        /// The last lines of the process's standard error.
        stderr_tail: String,
    },
    /// The process did not answer in time, and was killed.
    #[error("`{step}` did not end within {}: its process was killed{}", humantime::format_duration(*.deadline), tail(.stderr_tail))]
    Hangs {
        /// The step that the process was running.
        step: Step,
        /// How long the host waited.
        deadline: Duration,
        /// The last lines of the process's standard error.
        stderr_tail: String,
    },
    /// The manifest requires a cgroup, and there is none.
    #[error("it must have a cgroup (`cgroup = \"required\"` in `[limits]`): {0}")]
    NoCgroup(#[from] CgroupError),
    /// The shim rejected the request.
    #[error("{0}")]
    Refused(Failure),
    /// The shim does not follow the protocol.
    #[error("its process was killed, because it broke the protocol: {0}")]
    Garbled(String),
}

replug_model::readable::readable!(ProcessError);

fn tail(stderr: &str) -> String {
    if stderr.is_empty() {
        String::new()
    } else {
        format!("; its last output: {}", stderr.replace('\n', " | "))
    }
}
