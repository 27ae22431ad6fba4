//! Measures the time that a trial adds to a reload, the time that a process takes to start, and the time until a caller
//! returns if the plugin does not answer. `lanes.rs` measures calls that are answered.

use crate::{
    go_plugin::{GoPlugin, PROTOCOLS},
    served::{ID, Served},
};
use anyhow::{Context, Error, Result, bail, ensure};
use replug::{CallError, EventKind, Events, Handle, Host};
use replug_benches::{Section, Table, Target, quantile};
use replug_interfaces::Counter;
use replug_tests::{Probe, misbehave};
use std::{fs, time::Instant};

const RELOADS: u64 = 40;
/// How often a stopped plugin is started.
const STARTS: usize = 40;
/// The number of calls that return when they are cancelled.
const CANCELS: usize = 30;
/// The number of calls that never return, so that the plugin's process is killed. Each takes more than a second.
const SLEEPS: usize = 10;

/// Measures the steps of a plugin in a child process.
pub(crate) fn measure() -> Result<Section> {
    let mut served = Served::build("mode = \"process\"")?;
    let mut events = served.host.events();
    (1..=RELOADS).try_for_each(|number| served.reload(number))?;
    let mut preflight = Vec::new();
    while let Some(event) = events.try_next() {
        if let EventKind::Reloaded { stages, .. } = &event.kind {
            preflight.push(stages.preflight);
        }
    }
    let starts = starts(&served.host, &served.handle)?;
    served.host.shutdown().wait();
    let slept = Slept {
        cancelled: sleep("until-cancelled", CANCELS, |_| Ok(()))?,
        killed: sleep("sleep", SLEEPS, restarted)?,
    };
    Ok(section(&Lives { preflight, starts, go: go_starts(), slept }))
}

/// Durations in the life of a plugin, in milliseconds.
struct Lives {
    /// The preflights of new versions, each with its trial.
    preflight: Vec<f64>,
    /// From the command that starts a stopped plugin until a new process has answered a call. The start needs no trial,
    /// because the plugin has passed the same trial before.
    starts: Vec<f64>,
    /// The same for go-plugin, over each protocol. go-plugin has no trial.
    go: Vec<(&'static str, Result<Vec<f64>>)>,
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
    /// From the beginning of the call until the caller returns.
    back: Vec<f64>,
    /// From the return of the caller until the plugin has answered another call. If the process was killed, the next
    /// process answers.
    again: Vec<f64>,
}

fn starts(host: &Host, handle: &Handle<dyn Counter>) -> Result<Vec<f64>> {
    let start = |_| {
        host.stop(ID).wait()?;
        let began = Instant::now();
        host.start(ID).wait()?;
        handle.value()?;
        Ok(ms_since(began))
    };
    (0..STARTS).map(start).collect()
}

fn go_starts() -> Vec<(&'static str, Result<Vec<f64>>)> {
    let starts = |protocol| {
        let go = GoPlugin::start()?;
        (0..STARTS).map(|_| Ok(go.start_plugin(protocol)? as f64 / 1e6)).collect()
    };
    PROTOCOLS.map(|(protocol, name)| (name, starts(protocol))).into()
}

fn sleep(action: &str, times: usize, settled: impl Fn(&mut Events) -> Result<()>) -> Result<Back> {
    let served = tempfile::tempdir()?;
    // With this `death_window`, every death counts as the first one. So the host restarts the plugin without a longer
    // wait, and does not quarantine it.
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

fn section(lives: &Lives) -> Section {
    let (trial, start) = (quantile(&lives.preflight, 0.5), quantile(&lives.starts, 0.5));
    let cells = |values: &[f64]| [0.5, 0.99].map(|share| format!("{:.1}", quantile(values, share)));
    let row = |(name, starts): (&str, Result<&Vec<f64>, &Error>)| {
        let cells =
            starts.map_or_else(|error| ["-".into(), format!("not measured: {error:#}")], |it| cells(it));
        [name.to_owned()].into_iter().chain(cells).collect()
    };
    let go = lives.go.iter().map(|(name, starts)| (*name, starts.as_ref()));
    let fastest =
        lives.go.iter().filter_map(|(name, starts)| Some((*name, quantile(starts.as_ref().ok()?, 0.5))));
    let fastest = fastest.min_by(|(_, one), (_, other)| one.total_cmp(other));
    Section {
        title: "The life of a plugin in a child process",
        tables: vec![Table {
            columns: vec!["from the command until a new process has answered a call", "p50 ms", "p99 ms"],
            rows: [("replug", Ok(&lives.starts))].into_iter().chain(go).map(row).collect(),
        }],
        targets: vec![
            Target {
                what: "preflight, with its trial",
                bound: "at most 25 ms",
                measured: format!("{trial:.1} ms (p50 of {} reloads)", lives.preflight.len()),
                met: trial <= 25.0,
                ..Target::default()
            },
            Target {
                what: "start of a stopped plugin, from the command until a new process has answered a call",
                bound: "at most 15 ms",
                measured: format!("{start:.1} ms (p50 of {STARTS})"),
                met: start <= 15.0,
                ours: Some(format!("{start:.1} ms")),
                peer: fastest.map(|(name, ms)| format!("{ms:.1} ms ({name})")),
                ..Target::default()
            },
            back(
                "caller of a method that waits until it is cancelled, with a deadline of 100 ms",
                &lives.slept.cancelled,
            ),
            back("caller of a method that never returns, with a deadline of 100 ms", &lives.slept.killed),
        ],
        charts: Vec::new(),
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
        ..Target::default()
    }
}
