//! One shim as a process: started, talked to, killed, and reaped.

use super::{
    bounds::Bounds,
    cgroup::Cgroup,
    error::ProcessError,
    lanes::Lanes,
    output::{Tail, drain},
    signal::signal_name,
    spawner,
    usage::ProcessUsage,
};
use crate::{
    event::LimitsInForce,
    load::speaker::{Listener, Speaker},
    manifest::LimitsSpec,
    wire::{Control, ControlError, Greeting, Limits, Reports, SHIM_MARKER, Service, WireError},
};
use parking_lot::{Condvar, Mutex};
use replug_api::call::Death;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::{
    io::{self, PipeWriter},
    net::Shutdown,
    os::{
        fd::OwnedFd,
        unix::{net::UnixStream, process::ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{self, Command, ExitStatus, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

/// How long a child may take to say hello.
const HELLO_DEADLINE: Duration = Duration::from_secs(10);
/// How long the child may take to take an order from the service connection, which it always reads.
const ORDER_DEADLINE: Duration = Duration::from_secs(1);
/// How long after the end of a connection the end of the process behind it may take. One that lives on has broken its
/// connection, and is of no use.
const END_IS_NEAR: Duration = Duration::from_millis(100);
/// How long after the end of a process its death may take to be known.
const DEATH_IS_NEAR: Duration = Duration::from_secs(2);
/// How long after the end of a process what it has written may take to be read. Less than [`DEATH_IS_NEAR`], so that
/// whoever waits for the death learns how it was.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How long what was killed may take to be gone from its cgroup.
const EMPTY: Duration = Duration::from_millis(500);

/// The program that becomes a shim when it is asked to.
#[derive(Clone, Debug)]
pub(crate) struct Program(PathBuf);

impl Program {
    /// A program that calls `replug::shim::run_if_asked` first in its `main`.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The program that runs now, even if its file has been replaced since.
    pub(crate) fn own() -> Self {
        Self("/proc/self/exe".into())
    }

    /// Its file.
    #[cfg(feature = "control")]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

/// What a child is started with.
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Program,
    pub(crate) speaker: Speaker,
    /// What it may use.
    pub(crate) limits: LimitsSpec,
    /// Called once, on a thread of its own, when the process has ended without having been asked to.
    pub(crate) on_death: Box<dyn FnOnce(Death, String) + Send>,
}

/// A shim that has said hello. Dropped, it is killed with all that it started.
pub(crate) struct Child {
    control: Mutex<Control>,
    service: Mutex<Service>,
    pub(super) lanes: Lanes,
    life: Arc<Life>,
    bounds: Bounds,
    /// The end of this is the end of the child, should the host not come to kill it.
    _lifeline: PipeWriter,
}

/// What the thread that waits for the end shares with those who call.
struct Life {
    leader: Pid,
    state: Mutex<State>,
    changed: Condvar,
    tail: Tail,
    cgroup: Option<Arc<Cgroup>>,
}

#[derive(Default)]
struct State {
    /// That it ends is what the host wants.
    expected: bool,
    death: Option<Death>,
    /// The lanes, to be closed at its end: a process that it started may hold their other ends.
    lanes: Vec<UnixStream>,
    /// It has ended; what is left of it is not yet read.
    ended: bool,
    /// Its number may be another's.
    reaped: bool,
}

impl Child {
    /// Starts a shim, and waits until it has said hello.
    pub(crate) fn start(start: Start<'_>) -> Result<Self, ProcessError> {
        let program = start.program.0.clone();
        let failed =
            |error: io::Error| ProcessError::Start { program: program.clone(), reason: error.to_string() };
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let (our_events, their_events) = UnixStream::pair().map_err(failed)?;
        let (our_service, their_service) = UnixStream::pair().map_err(failed)?;
        let (their_lifeline, lifeline) = io::pipe().map_err(failed)?;
        let mut command = Command::new(&program);
        command.args([SHIM_MARKER, &process::id().to_string()]);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut bounds = Bounds::prepare(start.limits, (&start.speaker.plugin, start.speaker.generation))?;
        let mut child = spawner::spawn(command).map_err(failed)?;
        let tail = Tail::default();
        let speaker = Arc::new(start.speaker);
        let outputs = [
            child.stdout.take().map(|it| drain(it, "stdout", (speaker.clone(), None))),
            child.stderr.take().map(|it| drain(it, "stderr", (speaker.clone(), Some(tail.clone())))),
        ];
        let life = Arc::new(Life {
            leader: Pid::from_child(&child),
            state: Mutex::default(),
            changed: Condvar::new(),
            tail,
            cgroup: bounds.cgroup(),
        });
        let taken_in = bounds.take_in(child.id());
        let reports = listen(our_events, speaker);
        let (waiting, on_death) = (life.clone(), start.on_death);
        let wait = move || waiting.wait(child, outputs.into_iter().flatten().chain([reports]), on_death);
        thread::Builder::new().name("replug-reaper".into()).spawn(wait).map_err(failed)?;
        if let Err(error) = taken_in {
            life.expect_end();
            life.kill();
            return Err(error.into());
        }
        let told = |error| Self::told("hello", HELLO_DEADLINE, (&life, error));
        ours.set_read_timeout(Some(HELLO_DEADLINE)).map_err(failed)?;
        our_service.set_write_timeout(Some(ORDER_DEADLINE)).map_err(failed)?;
        let greeting =
            Greeting { events: their_events, lifeline: their_lifeline.into(), service: their_service };
        let control = Mutex::new(Control::greet(ours, greeting).map_err(told)?);
        let service = Mutex::new(Service::new(our_service));
        Ok(Self { control, service, lanes: Lanes::default(), life, bounds, _lifeline: lifeline })
    }

    /// Asks for a step, and waits for its end.
    pub(super) fn ask<T>(
        &self,
        step: &'static str,
        deadline: Duration,
        ask: impl FnOnce(&mut Control) -> Result<T, ControlError>,
    ) -> Result<T, ProcessError> {
        let mut control = self.control.lock();
        // If it cannot be set, the step has no deadline, and all else is as it should be.
        let _ = control.stream().set_read_timeout(Some(deadline));
        ask(&mut control).map_err(|error| match error {
            ControlError::Failed(failure) => ProcessError::Refused(failure),
            ControlError::Wire(error) => Self::told(step, deadline, (&self.life, error)),
        })
    }

    /// Orders something that waits for no step.
    pub(super) fn service<T>(
        &self,
        order: impl FnOnce(&mut Service) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        order(&mut self.service.lock())
    }

    /// What an error of a connection means for the process behind it.
    fn told(step: &'static str, deadline: Duration, of: (&Arc<Life>, WireError)) -> ProcessError {
        let (life, error) = of;
        let stderr_tail = || life.tail.text();
        if matches!(error, WireError::TimedOut) {
            life.expect_end();
            life.kill();
            return ProcessError::Hangs { step, deadline, stderr_tail: stderr_tail() };
        }
        if let Some(death) = life.death_if_near() {
            return ProcessError::Died { step, death, stderr_tail: stderr_tail() };
        }
        life.expect_end();
        life.kill();
        ProcessError::Garbled(error.to_string())
    }

    /// How it ended, if it has or is about to; else it is killed, since its connection is of no use.
    ///
    /// When this returns, `on_death` has been called or is about to be for want of last words.
    pub(super) fn death(&self) -> (Death, String) {
        let death = self.life.death_if_near().unwrap_or_else(|| {
            self.life.kill();
            // Until then, whoever is to know of the death may not. What ended by itself was slow, and says how it was.
            let killed = Death::Signal("SIGKILL".into());
            let late = self.life.death_within(DEATH_IS_NEAR).filter(|death| *death != killed);
            late.unwrap_or(Death::Disconnected)
        });
        (death, self.life.tail.text())
    }

    /// Whether it has ended.
    pub(super) fn is_dead(&self) -> bool {
        self.life.state.lock().death.is_some()
    }

    /// Kills it though no one has asked it to end: its death is told as any other, with the reason as its last words.
    pub(super) fn kill_because(&self, reason: &str) {
        self.life.tail.push(reason);
        self.life.kill();
    }

    /// Has this lane closed at the end of the process, whoever else holds its other end.
    pub(super) fn end_with_process(&self, lane: &UnixStream) -> io::Result<()> {
        let lane = lane.try_clone()?;
        let mut state = self.life.state.lock();
        if state.ended {
            return Err(io::ErrorKind::NotConnected.into());
        }
        state.lanes.push(lane);
        Ok(())
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.life.leader.as_raw_nonzero().get().unsigned_abs()
    }

    /// The resource limits that it is to set for itself.
    pub(super) fn rlimits(&self) -> Limits {
        self.bounds.rlimits()
    }

    /// What bounds it, once it has set its limits.
    pub(super) fn limits_in_force(&self) -> LimitsInForce {
        self.bounds.in_force(self.pid())
    }

    /// What it takes of the machine; none once it has ended.
    pub(super) fn usage(&self) -> Option<ProcessUsage> {
        let processes = self.life.cgroup.as_ref().and_then(|cgroup| cgroup.processes());
        let usage = ProcessUsage::of(Path::new(&format!("/proc/{}", self.pid())), processes);
        // Until it is known to be dead its number is not another's.
        usage.filter(|_| !self.is_dead())
    }

    /// From now on its end is no surprise.
    pub(super) fn expect_end(&self) {
        self.life.expect_end();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.life.expect_end();
        self.life.kill();
        // Until then it may hold its files.
        self.life.death_within(DEATH_IS_NEAR);
    }
}

impl Life {
    /// Waits for the end of the process, ends what it has left behind, and tells.
    fn wait(
        &self,
        mut child: process::Child,
        outputs: impl Iterator<Item = thread::JoinHandle<()>>,
        on_death: Box<dyn FnOnce(Death, String) + Send>,
    ) {
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(self.leader), exited) {}
        // What it has started may hold the other ends of its streams, which are read to their ends below.
        self.kill();
        let mut state = self.state.lock();
        state.ended = true;
        let lanes = std::mem::take(&mut state.lanes);
        drop(state);
        self.changed.notify_all();
        // An error means that it is closed.
        lanes.iter().for_each(|lane| drop(lane.shutdown(Shutdown::Both)));
        read_to_the_end(outputs.collect());
        if let Some(cgroup) = &self.cgroup {
            if cgroup.ran_out_of_memory() {
                self.tail
                    .push("(replug: the kernel killed it: it took more than `memory` in `[limits]` allows)");
            }
            cgroup.remove(EMPTY);
        }
        let mut state = self.state.lock();
        let death = child.wait().map_or(Death::Disconnected, death_of);
        state.reaped = true;
        let expected = state.expected;
        drop(state);
        // First, so that a caller who learns of the death finds that the generation has been taken out.
        if !expected {
            on_death(death.clone(), self.tail.text());
        }
        self.state.lock().death = Some(death);
        self.changed.notify_all();
    }

    /// Kills the process and all that it started. Its number cannot have become another's: it is reaped under the same
    /// lock, after which nothing is killed.
    fn kill(&self) {
        let state = self.state.lock();
        if !state.reaped {
            // An error means that no one is left.
            let _ = kill_process_group(self.leader, Signal::KILL);
            if let Some(cgroup) = &self.cgroup {
                cgroup.kill();
            }
        }
    }

    fn expect_end(&self) {
        self.state.lock().expected = true;
    }

    /// How it ended, if it has or is about to.
    fn death_if_near(&self) -> Option<Death> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| !state.ended, END_IS_NEAR);
        let ended = state.ended;
        drop(state);
        ended.then(|| self.death_within(DEATH_IS_NEAR)).flatten()
    }

    fn death_within(&self, patience: Duration) -> Option<Death> {
        let mut state = self.state.lock();
        self.changed.wait_while_for(&mut state, |state| state.death.is_none(), patience);
        state.death.clone()
    }
}

/// Waits for what the process has written last, but not for ever: what it started may have left its group, and then it
/// holds the other ends for as long as it likes.
fn read_to_the_end(outputs: Vec<thread::JoinHandle<()>>) {
    let (reading, read) = mpsc::channel::<()>();
    let join = move || {
        outputs.into_iter().for_each(|output| drop(output.join()));
        drop(reading);
    };
    if thread::Builder::new().name("replug-last-words".into()).spawn(join).is_ok() {
        // Nothing is sent: the channel is closed, or the time is up.
        let _ = read.recv_timeout(LAST_WORDS);
    }
}

fn death_of(status: ExitStatus) -> Death {
    match (status.code(), status.signal()) {
        (Some(code), _) => Death::Exit(code),
        (None, Some(signal)) => {
            Death::Signal(signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned))
        }
        (None, None) => Death::Disconnected,
    }
}

/// Passes on what the plugin reports, on a thread of its own, until the process ends.
fn listen(events: UnixStream, speaker: Arc<Speaker>) -> thread::JoinHandle<()> {
    let hear = move || {
        let mut reports = Reports::new(events);
        // Whatever ends the reports, the process is not ended by it: its calls may be fine.
        while let Ok(Some(report)) = reports.next_blocking() {
            speaker.hear(report);
        }
        speaker.settle_log();
    };
    thread::Builder::new()
        .name("replug-reports".into())
        .spawn(hear)
        .expect("a thread can be started where a process could")
}
