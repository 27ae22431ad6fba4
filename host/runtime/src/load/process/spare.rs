//! Processes that do not know their artifact yet. The host starts them while the artifact is being built: to start a
//! process and to move it into its cgroup takes longer than to load a library.

use super::{
    bounds::Bounds,
    environment::Environment,
    error::ProcessError,
    life::{Life, Reaper},
    output::Tail,
    spawner,
};
use crate::{
    load::in_process::{self, TUNABLES, more_static_tls},
    program::Program,
};
use parking_lot::{Condvar, Mutex};
use replug_model::{
    id::{Generation, PluginId},
    limits::{EnvVar, LimitsSpec},
};
use replug_wire::SHIM_MARKER;
use std::{
    env,
    ffi::OsString,
    io::{self, PipeReader, PipeWriter},
    mem,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    process::{self, ChildStderr, ChildStdout, Command, Stdio},
    sync::Arc,
};

/// The parameters of a process that cannot change after its start.
#[derive(Clone, Debug)]
pub struct ProcessSpec<'a> {
    /// The program to run.
    pub program: &'a Program,
    /// The plugin.
    pub plugin: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The limits of the process.
    pub limits: LimitsSpec,
    /// The environment and the capabilities of the process.
    pub environment: Environment<'a>,
    /// The static thread-local storage that the plugin uses, in bytes.
    pub static_tls_bytes: u64,
}

/// A process that waits for its greeting. Dropping this value kills the process.
pub(super) struct Spare {
    /// What the process was started with.
    fixed: Fixed,
    /// Kills and reaps the process when it is dropped.
    pub(super) reaper: Reaper,
    pub(super) life: Arc<Life>,
    pub(super) bounds: Bounds,
    pub(super) output: (Option<ChildStdout>, Option<ChildStderr>),
    pub(super) control: UnixStream,
    /// Both ends of the connection for reports, and of the service connection. The greeting sends the second ends.
    pub(super) events: (UnixStream, UnixStream),
    pub(super) service: (UnixStream, UnixStream),
    pub(super) lifeline: (PipeWriter, PipeReader),
}

/// A copy of a [`ProcessSpec`], and the environment of the host at the start of the process.
#[derive(Debug, PartialEq, Eq)]
struct Fixed {
    program: PathBuf,
    of: (PluginId, Generation),
    limits: LimitsSpec,
    /// The entries of the manifest. `None` if the process has the environment and the capabilities of the host.
    environment: Option<Vec<EnvVar>>,
    static_tls_bytes: u64,
    variables: Vec<(OsString, OsString)>,
}

impl Fixed {
    fn now(spec: &ProcessSpec<'_>) -> Self {
        Self {
            program: spec.program.path().to_owned(),
            of: (spec.plugin.clone(), spec.generation),
            limits: spec.limits,
            environment: match spec.environment {
                Environment::Own(variables) => Some(variables.to_vec()),
                Environment::Host => None,
            },
            static_tls_bytes: spec.static_tls_bytes,
            variables: env::vars_os().collect(),
        }
    }
}

impl Spare {
    /// Starts a process. Blocks until the process is in its cgroup.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Start`] or [`ProcessError::NoCgroup`] if the process cannot be started like that.
    pub(super) fn start(spec: &ProcessSpec<'_>) -> Result<Self, ProcessError> {
        let fixed = Fixed::now(spec);
        let failed = |error: io::Error| ProcessError::Start {
            program: spec.program.path().to_owned(),
            reason: error.to_string(),
        };
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        let events = UnixStream::pair().map_err(failed)?;
        let service = UnixStream::pair().map_err(failed)?;
        let (their_lifeline, lifeline) = io::pipe().map_err(failed)?;
        let mut command = Command::new(spec.program.path());
        command.args([SHIM_MARKER, &process::id().to_string()]);
        spec.environment.apply(&mut command);
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped());
        if spec.static_tls_bytes > 0 {
            command.env(TUNABLES, more_static_tls(spec.static_tls_bytes));
        }
        let mut bounds = Bounds::prepare(spec.limits, (&spec.plugin, spec.generation))?;
        in_process::restore_sigchld();
        let mut child = spawner::spawn(command).map_err(|error| {
            bounds.discard();
            failed(error)
        })?;
        let output = (child.stdout.take(), child.stderr.take());
        let life = Life::of(&child, Tail::default(), bounds.cgroup()).map_err(|error| {
            // No other code uses this process yet. An error means that it has already exited.
            let _ = child.kill();
            let _ = child.wait();
            bounds.discard();
            failed(error)
        })?;
        let life = Arc::new(life);
        // From here on, each return with an error drops the reaper, which kills the process.
        let reaper = Reaper::of(child, &life);
        bounds.take_in(life.pid())?;
        let lifeline = (lifeline, their_lifeline);
        Ok(Self { fixed, reaper, life, bounds, output, control, events, service, lifeline })
    }

    /// Whether the process is like one that would be started with `spec` now.
    fn fits(&self, spec: &ProcessSpec<'_>) -> bool {
        self.fixed == Fixed::now(spec) && !self.life.has_exited()
    }
}

/// The spare processes for one version. Dropping this value kills them.
#[derive(Default)]
pub struct SparePool {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    spares: Vec<Spare>,
    /// How many processes are still to be started.
    to_come: usize,
    is_closed: bool,
}

impl SparePool {
    /// A pool to be filled with `count` processes.
    pub fn to_be_filled(count: usize) -> Self {
        Self { state: Mutex::new(State { to_come: count, ..State::default() }), changed: Condvar::new() }
    }

    /// Starts the processes, until one cannot be started or the pool is closed. If the pool is closed while a process is
    /// being started, kills this process, and returns after it has exited. Blocks.
    pub fn fill(&self, spec: &ProcessSpec<'_>) {
        while self.state.lock().to_come > 0 {
            // If this fails, the process is started again when it is needed, and the error is reported then.
            let started = Spare::start(spec).ok();
            let mut state = self.state.lock();
            state.to_come = if started.is_some() { state.to_come.saturating_sub(1) } else { 0 };
            if state.is_closed {
                // The lock is released before the process is killed.
                drop(state);
                return;
            }
            state.spares.extend(started);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Kills the processes that nobody has taken. Blocks until they have exited. [`SparePool::fill`] kills the process
    /// that it is starting meanwhile, if any; this function does not wait for that.
    pub fn close(&self) {
        let mut state = self.state.lock();
        (state.to_come, state.is_closed) = (0, true);
        let unused = mem::take(&mut state.spares);
        drop(state);
        self.changed.notify_all();
        drop(unused);
    }

    /// Takes a process that is like one that would be started with `spec` now. If processes are still being started,
    /// waits for them.
    pub(super) fn take(&self, spec: &ProcessSpec<'_>) -> Option<Spare> {
        let mut state = self.state.lock();
        self.changed.wait_while(&mut state, |state| state.spares.is_empty() && state.to_come > 0);
        let at = state.spares.iter().position(|spare| spare.fits(spec))?;
        Some(state.spares.swap_remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replug_model::limits::CgroupUse;
    use std::path::Path;

    /// A program that never exits by itself, because nobody reads its output.
    fn program() -> Program {
        Program::at("yes".into())
    }

    fn spec(program: &Program) -> ProcessSpec<'_> {
        ProcessSpec {
            program,
            plugin: "dev.test.spare".parse().unwrap(),
            generation: Generation(7),
            limits: LimitsSpec { cgroup: CgroupUse::Off, ..LimitsSpec::default() },
            environment: Environment::Own(&[]),
            static_tls_bytes: 0,
        }
    }

    #[test]
    fn a_spare_process_fits_only_what_it_was_started_with() {
        let program = program();
        let spec = spec(&program);
        let spare = Spare::start(&spec).unwrap();
        assert!(spare.fits(&spec));
        let variable = [EnvVar::Pass("HOME".into())];
        let limits = LimitsSpec { cgroup: CgroupUse::Preferred, ..spec.limits };
        let others = [
            ProcessSpec { generation: Generation(8), ..spec.clone() },
            ProcessSpec { plugin: "dev.test.other".parse().unwrap(), ..spec.clone() },
            ProcessSpec { program: &Program::at("cat".into()), ..spec.clone() },
            ProcessSpec { environment: Environment::Own(&variable), ..spec.clone() },
            ProcessSpec { environment: Environment::Host, ..spec.clone() },
            ProcessSpec { limits, ..spec.clone() },
            ProcessSpec { static_tls_bytes: 8, ..spec.clone() },
        ];
        for other in others {
            assert!(!spare.fits(&other), "{other:?}");
        }
        spare.life.kill();
        while !spare.life.has_exited() {
            std::thread::yield_now();
        }
        assert!(!spare.fits(&spec), "it has exited");
    }

    #[test]
    fn a_pool_gives_out_only_processes_that_fit_and_kills_the_others() {
        let program = program();
        let spec = spec(&program);
        let pool = SparePool::to_be_filled(2);
        pool.fill(&spec);
        assert!(pool.take(&ProcessSpec { generation: Generation(8), ..spec.clone() }).is_none());
        let taken = pool.take(&spec).unwrap();
        let other = pool.state.lock().spares[0].life.pid();
        pool.close();
        assert!(!Path::new(&format!("/proc/{other}")).exists());
        assert!(Path::new(&format!("/proc/{}", taken.life.pid())).exists());
        assert!(pool.take(&spec).is_none());
        pool.fill(&spec);
        assert!(pool.take(&spec).is_none(), "a closed pool stays empty");
    }

    #[test]
    fn a_process_that_cannot_be_started_in_advance_is_not_waited_for() {
        let program = Program::at("/nowhere/at/all".into());
        let pool = SparePool::to_be_filled(2);
        pool.fill(&spec(&program));
        assert!(pool.take(&spec(&program)).is_none());
    }

    #[test]
    fn a_dropped_spare_process_is_killed_and_reaped() {
        let program = program();
        let spare = Spare::start(&spec(&program)).unwrap();
        let process = format!("/proc/{}", spare.life.pid());
        assert!(Path::new(&process).exists());
        drop(spare);
        assert!(!Path::new(&process).exists());
    }
}
