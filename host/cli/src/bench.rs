//! `replug bench`: measures the calls of a method of one plugin, in this process and in a child process.

mod measure;
mod place;
mod plot;
mod report;
mod style;

use super::{
    args::{CallArgs, CallSpec, Place, PluginsFlag, State},
    call::failed,
    error::CliError,
    one::{One, with_spinner},
    terminal, trace,
};
use clap::Args;
use measure::{Row, Way};
use place::BenchDir;
use replug::{
    DynHandle, Host, HostError, Method,
    event::Stage,
    manifest::{Defaults, Mode},
};
use report::{Api, Body, Lane, LeftOut, Report};
use serde_json::{Value, value::to_raw_value};
use std::{fs, path::PathBuf, thread, time::Duration};
use tokio::sync::oneshot;

/// Measure calls of a method, in this process and in a child process
///
/// Builds the plugin, loads it into this process and into a child process, and calls the method many times in both, in
/// turn, from one thread. Prints the calls per second and the percentiles of their durations, and which `mode` the
/// numbers suggest. Needs no host, and does not affect a running one: the plugin is loaded for this command only, with
/// an empty data folder.
#[derive(Debug, Args)]
#[command(
    after_help = "The plugin really executes every call. A method that returns an error is not measured.
Calls are with JSON. A typed handle to a plugin in this process is faster, because it uses no JSON.

Examples:
  replug bench dev.replug.calculator add '[10,5]'
  replug bench calculator add '[10,5]' --seconds 10 --plot add.svg
  replug bench calculator history --json | jq '.rows[] | {place, lane, call, p50_ns}'"
)]
pub(super) struct Bench {
    #[command(flatten)]
    call: CallArgs,
    /// How long to measure in total, in seconds
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Write a chart of the percentiles to this file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    plugins: PluginsFlag,
    /// Print one JSON object on one line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    state: State,
}

impl Bench {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let call = self.call.parse()?;
        trace::quietly();
        let place = self.state.place(self.plugins.folder())?;
        let dir = BenchDir::create(&place.state_dir)?;
        let mut left_out = Vec::new();
        let mut loaded = Vec::new();
        for body in [Body::InProcess, Body::Child] {
            match start(&place, &dir, &call, body).await {
                Ok(one) => loaded.push((body, one)),
                Err(error) if depends_on_mode(&error) => left_out.push((body, error)),
                Err(error) => return Err(error),
            }
        }
        if loaded.is_empty()
            && let Some((_, error)) = left_out.pop()
        {
            return Err(error);
        }
        let profile = profile(&place.config.defaults, &loaded);
        let plugin = loaded[0].1.handle.id().clone();
        let handles = loaded.iter().map(|(_, one)| (one.host.clone(), one.handle.clone())).collect();
        let total = Duration::from_secs(self.seconds.into());
        let measuring = with_spinner(
            format!("measuring {} for {} s", call.method, self.seconds),
            measured(handles, call.clone(), total),
        );
        let mut ones = loaded.into_iter().map(|(_, one)| one);
        let (first, second) = (ones.next(), ones.next());
        let rows = finished(first, finished(second, measuring)).await?;
        let left_out = left_out.into_iter().map(|(body, error)| LeftOut { body, reason: error.to_string() });
        let report = Report {
            plugin: plugin.to_string(),
            method: call.method,
            arguments: call.arguments,
            profile,
            seconds: self.seconds,
            rows,
            left_out: left_out.collect(),
        };
        if let Some(file) = &self.plot {
            let remedy = "give another file with `--plot`";
            fs::write(file, plot::svg(&report)).map_err(CliError::io("cannot write", file, remedy))?;
        }
        match self.json {
            true => terminal::print_json(&report.to_json()),
            false => terminal::print(&report.to_text()),
        }
    }
}

/// Builds the plugin, and loads it in a host of its own.
async fn start(place: &Place, dir: &BenchDir, call: &CallSpec, body: Body) -> Result<One, CliError> {
    let mut config = place.config.clone();
    config.defaults = config.defaults.in_mode(match body {
        Body::InProcess => Mode::InProcess,
        Body::Child => Mode::Process,
    });
    config.state_dir = Some(dir.of(body));
    let build_dir = place.build_dir();
    One::start_with(config, &call.plugin, |builder| builder.build_dir(build_dir)).await
}

/// Whether the plugin may run in the other mode in spite of this error.
fn depends_on_mode(error: &CliError) -> bool {
    let CliError::Host(HostError::Reload(error)) = error else { return false };
    matches!(error.stage, Stage::Preflight | Stage::Load | Stage::Migrate | Stage::Swap)
}

/// The lane of the last call: a host falls back to the socket if shared memory is not possible.
fn lane_of(host: &Host, handle: &DynHandle) -> Lane {
    let info = host.info(handle.id().as_str());
    info.ok().and_then(|info| info.lane).map_or(Lane::InProcess, Lane::Child)
}

/// The cargo profile of the plugin. `None` if cargo does not build it.
fn profile(defaults: &Defaults, loaded: &[(Body, One)]) -> Option<String> {
    let (_, one) = loaded.first()?;
    let info = one.host.info(one.handle.id().as_str()).ok()?;
    let manifest = defaults.read(&info.path).ok()?;
    let is_built_by_cargo = manifest.binary.is_none() && manifest.build.script.is_none();
    is_built_by_cargo.then_some(manifest.build.profile)
}

/// Waits for the measurement, and then stops the host. A signal ends the wait.
async fn finished<T>(
    one: Option<One>,
    measuring: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    match one {
        Some(one) => one.finish(measuring).await?,
        None => measuring.await,
    }
}

/// Measures on a thread of its own, which a signal does not wait for.
async fn measured(
    handles: Vec<(Host, DynHandle)>,
    call: CallSpec,
    total: Duration,
) -> Result<Vec<Row>, CliError> {
    let (sender, rows) = oneshot::channel();
    let measure = move || {
        // An error means that a signal has ended the command.
        let _ = sender.send(measure_all(&handles, &call, total));
    };
    thread::Builder::new().name("bench".into()).spawn(measure).map_err(CliError::Threads)?;
    rows.await.unwrap_or_else(|_| Err(CliError::Refused("the measurement has panicked".into())))
}

fn measure_all(
    handles: &[(Host, DynHandle)],
    call: &CallSpec,
    total: Duration,
) -> Result<Vec<Row>, CliError> {
    let mut ways = Vec::new();
    for (host, handle) in handles {
        // The first call of each body shows whether the method and its arguments are valid.
        handle
            .invoke_json(call.method.clone(), call.arguments.clone())
            .wait()
            .map_err(|error| unmeasured(error.into()))?;
        let method =
            handle.method(call.method.clone()).map_err(|error| unmeasured(error.widen::<Value>().into()))?;
        ways.extend(ways_of(lane_of(host, handle), handle, &method, &call.arguments));
    }
    measure::rounds(ways, total).map_err(|error| unmeasured(error.into()))
}

/// The ways in which a program can call the method. In a child process, only a call with JSON text is measured, because
/// the other ways add the same time to a call as in process.
fn ways_of(lane: Lane, handle: &DynHandle, method: &Method, arguments: &Value) -> Vec<Way> {
    let raw = to_raw_value(arguments).expect("a JSON value can be written");
    let resolved = method.clone();
    let call_raw = move || resolved.call_raw(&raw).map(drop);
    match lane {
        Lane::Child(_) => vec![Way::new(lane, Api::Raw, call_raw)],
        Lane::InProcess => {
            let (resolved, values) = (method.clone(), arguments.clone());
            let call_json = move || resolved.call_json(&values).map(drop);
            let (handle, name, values) = (handle.clone(), method.name().to_owned(), arguments.clone());
            let by_name = move || handle.invoke_json(name.clone(), values.clone()).wait().map(drop);
            vec![
                Way::new(Lane::InProcess, Api::Raw, call_raw),
                Way::new(Lane::InProcess, Api::Json, call_json),
                Way::new(Lane::InProcess, Api::ByName, by_name),
            ]
        }
    }
}

/// The error of a call that failed, which ends the measurement.
fn unmeasured(failure: replug::control::CallFailure) -> CliError {
    let hint = match failure.own() {
        Some(_) => "\n  calls that return an error are not measured: give other arguments",
        None => "",
    };
    match failed(&failure) {
        CliError::Refused(text) => CliError::Refused(format!("{text}{hint}")),
        other => other,
    }
}
