//! The cost of a call into another process, compared with the minimum for two processes: one message in each direction
//! over a socket. Also measures the time that a trial adds to a reload, the start of a process, and the time until a
//! caller returns if the plugin does not answer.

use anyhow::{Context, Result, bail, ensure};
use replug::{CallError, EventKind, Events, Handle, Host};
use replug_benches::{Contender, Rounds, Section, Series, Table, Target, quantile, take_turns};
use replug_interfaces::Counter;
use replug_tests::{
    Probe, misbehave,
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use std::{
    env, fs,
    hint::black_box,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child, Command},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

const ID: &str = "dev.replug.numbered";
/// The size of a message in each direction, in bytes: about that of a call with one number as its argument.
const MESSAGE: usize = 32;
/// The argument with which this program becomes the other end of the socket.
const ECHO: &str = "--echo";
const ROUNDS: Rounds = Rounds { rounds: 40, repetitions: 4_000 };
const RELOADS: u64 = 40;
/// How often a stopped plugin is started.
const STARTS: usize = 40;
/// The number of calls that return when they are cancelled.
const CANCELS: usize = 30;
/// The number of calls that never return, so that the plugin's process is killed. Each takes more than a second.
const SLEEPS: usize = 10;

/// Echoes messages until the end of its standard input, if this process was started for that.
pub(crate) fn echo_if_asked() {
    if env::args().nth(1).as_deref() != Some(ECHO) {
        return;
    }
    let stream = io::stdin();
    let stream = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned().map(UnixStream::from);
    if let Ok(mut stream) = stream {
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
    }
    std::process::exit(0);
}

/// The other end of a socket, in a child process.
struct Echo {
    stream: UnixStream,
    child: Child,
}

impl Echo {
    fn start() -> Result<Self> {
        let (stream, theirs) = UnixStream::pair()?;
        let child = Command::new(env::current_exe()?).arg(ECHO).stdin(OwnedFd::from(theirs)).spawn()?;
        Ok(Self { stream, child })
    }

    fn round_trip(&mut self) {
        let mut message = [1; MESSAGE];
        let back = self.stream.write_all(&message).and_then(|()| self.stream.read_exact(&mut message));
        back.expect("the other end answers until this one is closed");
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
        let _ = self.child.wait();
    }
}

/// Measures the method of `call.rs`, in a child process.
pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    let mut artifacts = Numbered::read(&sandbox.build(&package, Std::Shared)?)?;
    let served = tempfile::tempdir()?;
    let binary = served.path().join("numbered.so");
    let manifest = format!("id = \"{ID}\"\nmode = \"process\"\nbinary = \"numbered.so\"\n");
    fs::write(served.path().join("plugin.toml"), manifest)?;
    artifacts.put(0, &binary)?;
    let host = Host::builder().plugins(served.path()).build().wait()?;
    let handle: Handle<dyn Counter> = host.get(ID)?;
    handle.value().context("the plugin did not start")?;

    let mut echo = Echo::start()?;
    let series = take_turns(
        vec![
            Contender {
                name: "one message each way, 32 bytes, over a Unix socket",
                run: Box::new(|repetitions| timed(repetitions, || echo.round_trip())),
                one_in: 1,
            },
            Contender {
                name: "typed handle, plugin in a child process",
                run: Box::new(|repetitions| {
                    timed(repetitions, || drop(black_box(handle.increment(black_box(1)))))
                }),
                one_in: 1,
            },
        ],
        ROUNDS,
    );
    let crowds = take_turns(vec![crowd("1 caller", 1, &handle), crowd("2 callers", 2, &handle)], ROUNDS);
    let mut events = host.events();
    (1..=RELOADS).try_for_each(|number| {
        artifacts.put(number, &binary)?;
        host.reload(ID).wait()?;
        Ok::<_, anyhow::Error>(())
    })?;
    let mut preflight = Vec::new();
    while let Some(event) = events.try_next() {
        if let EventKind::Reloaded { stages, .. } = &event.kind {
            preflight.push(stages.preflight);
        }
    }
    let starts = starts(&host)?;
    host.shutdown().wait();
    let slept = Slept {
        cancelled: sleep("until-cancelled", CANCELS, |_| Ok(()))?,
        killed: sleep("sleep", SLEEPS, restarted)?,
    };
    Ok(section(&series, &crowds, &Lives { preflight, starts, slept }))
}

/// Durations of lifecycle events of a plugin, in milliseconds.
struct Lives {
    /// The trials of new versions.
    preflight: Vec<f64>,
    /// From the command that starts a stopped plugin, which has passed its trial, until it is ready in a new process.
    starts: Vec<f64>,
    slept: Slept,
}

/// Calls into a plugin that sleeps, with a `call_timeout` of 100 ms.
struct Slept {
    /// The plugin checks for cancellation.
    cancelled: Back,
    /// The plugin does not check for cancellation, and its process is killed after the grace period.
    killed: Back,
}

/// Durations of calls that exceed their deadline, in milliseconds.
struct Back {
    /// Until the caller returns.
    back: Vec<f64>,
    /// From the return of the caller until the plugin has answered another call. If the process was killed, the next
    /// process answers.
    again: Vec<f64>,
}

fn starts(host: &Host) -> Result<Vec<f64>> {
    let start = |_| {
        host.stop(ID).wait()?;
        let began = Instant::now();
        host.start(ID).wait()?;
        Ok(ms_since(began))
    };
    (0..STARTS).map(start).collect()
}

fn sleep(action: &str, times: usize, settled: impl Fn(&mut Events) -> Result<()>) -> Result<Back> {
    let served = tempfile::tempdir()?;
    // With this `death_window`, every death counts as the first one.
    let manifest = "id = \"dev.replug.sleeper\"\nmode = \"process\"\nbinary = \"sleeper.so\"\n[process]\ncall_timeout = \"100ms\"\ndeath_window = \"1ms\"\n";
    fs::write(served.path().join("plugin.toml"), manifest)?;
    fs::write(served.path().join("sleeper.so"), misbehave("version=1"))?;
    let host = Host::builder().plugins(served.path()).build().wait()?;
    let probe: Handle<dyn Probe> = host.get("dev.replug.sleeper")?;
    probe.version().context("the plugin did not start")?;
    let mut slept = Back { back: Vec::new(), again: Vec::new() };
    let mut events = host.events();
    for _ in 0..times {
        let began = Instant::now();
        let error = probe.misbehave(action);
        slept.back.push(ms_since(began));
        ensure!(matches!(error, Err(CallError::Timeout { .. })), "{error:?}");
        let began = Instant::now();
        settled(&mut events)?;
        probe.version().context("the plugin has stopped")?;
        slept.again.push(ms_since(began));
    }
    host.shutdown().wait();
    Ok(slept)
}

fn restarted(events: &mut Events) -> Result<()> {
    while let Some(event) = events.next_blocking() {
        if matches!(event.kind, EventKind::PluginRestarted { .. }) {
            return Ok(());
        }
    }
    bail!("the host has shut down")
}

fn ms_since(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e3
}

fn section(series: &[Series], crowds: &[Series], lives: &Lives) -> Section {
    let row = |one: &Series| {
        let ratio = one.ratio_to(&series[0]);
        vec![one.name.to_owned(), format!("{:.1}", one.median() / 1e3), format!("{ratio:.2}")]
    };
    let throughput = |one: &Series| vec![one.name.to_owned(), format!("{:.0}", 1e6 / one.median())];
    let (ratio, scaling) = (series[1].ratio_to(&series[0]), crowds[0].ratio_to(&crowds[1]));
    let (trial, start) = (quantile(&lives.preflight, 0.5), quantile(&lives.starts, 0.5));
    Section {
        title: "A plugin in a child process",
        tables: vec![
            Table {
                columns: vec!["one caller", "µs a call", "times the messages"],
                rows: series.iter().map(row).collect(),
            },
            Table {
                columns: vec!["throughput", "thousand calls a second"],
                rows: crowds.iter().map(throughput).collect(),
            },
        ],
        targets: vec![
            Target {
                what: "call, relative to one message each way",
                bound: "at most 1.4 times",
                measured: format!("{ratio:.2} times"),
                met: ratio <= 1.4,
            },
            Target {
                what: "throughput of two callers, relative to one",
                bound: "at least 1.6 times",
                measured: format!("{scaling:.2} times"),
                met: scaling >= 1.6,
            },
            Target {
                what: "preflight with its trial",
                bound: "at most 25 ms",
                measured: format!("{trial:.1} ms (p50 of {} reloads)", lives.preflight.len()),
                met: trial <= 25.0,
            },
            Target {
                what: "start of a stopped plugin, from the command until it is ready in a new process",
                bound: "at most 15 ms",
                measured: format!("{start:.1} ms (p50 of {STARTS})"),
                met: start <= 15.0,
            },
            back(
                "caller of a plugin that sleeps until it is cancelled, with a deadline of 100 ms",
                &lives.slept.cancelled,
            ),
            back("caller of a plugin that sleeps forever, with a deadline of 100 ms", &lives.slept.killed),
        ],
    }
}

fn back(what: &'static str, calls: &Back) -> Target {
    let (back, longest) = (quantile(&calls.back, 0.5), quantile(&calls.back, 1.0));
    let again = quantile(&calls.again, 0.5);
    let count = calls.back.len();
    Target {
        what,
        bound: "returns within 150 ms",
        measured: format!(
            "{back:.1} ms (p50), {longest:.1} ms (longest of {count}); the plugin answers again {again:.1} ms later"
        ),
        met: longest <= 150.0,
    }
}

fn timed(repetitions: u64, mut once: impl FnMut()) -> Duration {
    let began = Instant::now();
    (0..repetitions).for_each(|_| once());
    began.elapsed()
}

fn crowd<'a>(name: &'static str, callers: u64, handle: &'a Handle<dyn Counter>) -> Contender<'a> {
    let run = move |repetitions: u64| {
        let ready = Barrier::new(callers as usize);
        let times: Vec<_> = thread::scope(|scope| {
            let caller = || {
                // The first call may open a lane, which is not measured.
                drop(black_box(handle.increment(0)));
                ready.wait();
                let began = Instant::now();
                timed(repetitions / callers, || drop(black_box(handle.increment(black_box(1)))));
                (began, Instant::now())
            };
            let callers: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            callers.into_iter().filter_map(|caller| caller.join().ok()).collect()
        });
        let began = times.iter().map(|(began, _)| *began).min();
        let ended = times.iter().map(|(_, ended)| *ended).max();
        began.zip(ended).map_or(Duration::MAX, |(began, ended)| ended - began)
    };
    Contender { name, run: Box::new(run), one_in: 1 }
}
