//! The process of one shim: greets the process, sends it requests and kills it.

use super::{
    bounds::Bounds,
    error::ProcessError,
    lanes::Lanes,
    life::{Life, REAP_TIMEOUT},
    output::{ProcessStream, drain, listen},
    spare::{ProcessSpec, Spare, SparePool},
};
use crate::{deadline::Deadline, load::reporter::HostReporter, process_usage::ProcessUsage};
use parking_lot::Mutex;
use replug_api::call::Death;
use replug_model::{event::LimitsInForce, limits::LaneKind, step::Step};
use replug_wire::{ControlConnection, Greeting, Limits, RequestError, Service, Timed, WireError};
use std::{
    io::{self, PipeWriter},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

/// How long a child may take to send its greeting.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How long sending a service command may take, before the child is killed. The child always reads the service
/// connection. The time is long, because the sending thread may be delayed for seconds on a busy machine.
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);

/// The parameters for starting a child.
pub struct Start<'a> {
    /// The process to start.
    pub process: ProcessSpec<'a>,
    /// Processes that were started in advance. If one of them is as `process` requires, it is used.
    pub spares: Option<&'a SparePool>,
    /// Receives the reports of the plugin and the output of its process.
    pub reporter: HostReporter,
    /// How calls and answers are passed to and from the process.
    pub lane: LaneKind,
    /// Called once, on a thread of its own, if the process terminates unexpectedly: with the cause of its death and the
    /// last lines of its standard error.
    pub on_death: Box<dyn FnOnce(Death, String) + Send>,
}

/// A shim that has completed the handshake. Dropping this value kills the shim and the processes that it has started.
pub(crate) struct Child {
    control: Mutex<ControlConnection>,
    service: Mutex<Service>,
    pub(super) lanes: Lanes,
    pub(super) life: Arc<Life>,
    bounds: Bounds,
    /// The child exits when this pipe is closed, even if the host has failed to kill it.
    _lifeline: PipeWriter,
}

impl Child {
    /// Starts a shim, or uses the one that was started earlier, and waits until it has sent its greeting.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, ProcessError> {
        let spare = start.spares.and_then(|spares| spares.take(&start.process));
        let started = spare.map_or_else(|| Spare::start(&start.process), Ok)?;
        let Spare {
            reaper, life, bounds, output: (stdout, stderr), control, events, service, lifeline, ..
        } = started;
        let no_thread = |error: io::Error| ProcessError::Start {
            program: start.process.program.path().to_owned(),
            reason: format!("cannot start a thread that reads the program's output: {error}"),
        };
        let reporter = Arc::new(start.reporter);
        let end = life.process.clone();
        let mut outputs = Vec::new();
        if let Some(stdout) = stdout {
            outputs.push(
                drain(ProcessStream::until(&end, stdout), "stdout", (&reporter, None)).map_err(no_thread)?,
            );
        }
        if let Some(stderr) = stderr {
            let tail = Some(life.tail.clone());
            outputs.push(
                drain(ProcessStream::until(&end, stderr), "stderr", (&reporter, tail)).map_err(no_thread)?,
            );
        }
        outputs.push(listen(ProcessStream::until(&end, events.0), reporter).map_err(no_thread)?);
        let wait = move || reaper.wait(outputs, start.on_death);
        thread::Builder::new().name("replug-reaper".into()).spawn(wait).map_err(no_thread)?;
        let failed_hello = |error| Self::process_error(Step::Hello, HELLO_DEADLINE, (&life, error));
        let mut control = Timed::from(control);
        control.until(Some(Deadline::after(HELLO_DEADLINE).until));
        let greeting = Greeting { events: events.1, lifeline: lifeline.1.into(), service: service.1 };
        let control = Mutex::new(ControlConnection::greet(control, greeting).map_err(failed_hello)?);
        let service = Mutex::new(Service::new(service.0));
        Ok(Self { control, service, lanes: Lanes::by(start.lane), life, bounds, _lifeline: lifeline.0 })
    }

    /// Requests a lifecycle step, and waits for the answer. If no answer comes within the deadline, kills the process.
    pub(super) fn ask<T>(
        &self,
        step: Step,
        deadline: Duration,
        ask: impl FnOnce(&mut ControlConnection) -> Result<T, RequestError>,
    ) -> Result<T, ProcessError> {
        let mut control = self.control.lock();
        control.until(Deadline::after(deadline).until);
        ask(&mut control).map_err(|error| match error {
            RequestError::Failed(failure) => ProcessError::Refused(failure),
            RequestError::Wire(error) => Self::process_error(step, deadline, (&self.life, error)),
        })
    }

    /// Sends a service command, which does not have to wait for a lifecycle step.
    pub(super) fn service<T>(
        &self,
        command: impl FnOnce(&mut Service) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let mut service = self.service.lock();
        service.until(Deadline::after(COMMAND_DEADLINE).until);
        command(&mut service)
    }

    /// Derives the error of a request from the error of the connection and the state of the process.
    fn process_error(step: Step, deadline: Duration, of: (&Arc<Life>, WireError)) -> ProcessError {
        let (life, error) = of;
        let stderr_tail = || life.tail.text();
        if matches!(error, WireError::TimedOut) {
            let stderr_tail = stderr_tail();
            // The plugin may be serving. Then the callers of its running calls get the reason, too.
            let waited = humantime::format_duration(deadline);
            life.kill_because(&format!("replug: killed, because `{step}` did not end within {waited}"));
            life.death_within(REAP_TIMEOUT);
            return ProcessError::Hangs { step, deadline, stderr_tail };
        }
        match life.own_death() {
            Some(death) => ProcessError::Died { step, death, stderr_tail: stderr_tail() },
            None => ProcessError::Garbled(error.to_string()),
        }
    }

    /// How the process terminated, and its last output. If the process does not terminate immediately, kills it,
    /// because its connection is unusable.
    ///
    /// When this method returns, `on_death` has been called, unless the last output of the process could not be read in
    /// time. In that case, `on_death` is called soon afterwards.
    pub(super) fn death(&self) -> (Death, String) {
        let death = self.life.own_death().unwrap_or(Death::Disconnected);
        (death, self.life.tail.text())
    }

    /// Whether the death of the process is known.
    pub(super) fn is_dead(&self) -> bool {
        self.life.is_dead()
    }

    /// Kills the process, although its exit was not requested. Its death is reported like any other, with the reason at
    /// the end of its last output.
    pub(super) fn kill_because(&self, reason: &str) {
        self.life.kill_because(reason);
    }

    /// The pid of the process.
    pub(super) fn pid(&self) -> u32 {
        self.life.pid()
    }

    /// The resource limits that the process sets for itself.
    pub(super) fn rlimits(&self) -> Limits {
        self.bounds.rlimits()
    }

    /// The limits that are in force, after the process has set its resource limits.
    pub(super) fn limits_in_force(&self) -> LimitsInForce {
        self.bounds.in_force(self.pid())
    }

    /// The resources that the process uses now; `None` after it has exited.
    pub(super) fn usage(&self) -> Option<ProcessUsage> {
        let processes = self.life.cgroup.as_ref().and_then(|cgroup| cgroup.processes());
        let usage = ProcessUsage::of(Path::new(&format!("/proc/{}", self.pid())), processes);
        // After the process has been reaped, another process may have its pid.
        usage.filter(|_| !self.life.has_exited())
    }

    /// From now on, the exit of the process is expected, and `on_death` is not called.
    pub(super) fn expect_end(&self) {
        self.life.expect_end();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.life.expect_end();
        self.life.kill();
        // Until the process has exited, it may have files open.
        self.life.death_within(REAP_TIMEOUT);
    }
}
