//! `replug bench`: measures the calls of a method of one plugin, in this process and over each lane to a child process.

mod advice;
mod measure;
mod numbers;
mod place;
mod plot;
mod report;
mod style;
mod typed;

use super::{
    args::{CallArgs, CallSpec, Place, PluginsFlag, State},
    call::failed,
    error::CliError,
    one::{One, with_spinner},
    signature, terminal, trace,
};
use clap::Args;
use measure::{Call, Row, Way};
use place::{BenchDir, LANES};
use replug::{
    DynHandle, Host, HostError,
    event::Stage,
    manifest::{Defaults, Mode},
};
use replug_api::describe;
use replug_runtime::load::in_process::count_allocations;
use report::{Api, Body, Lane, LeftOut, Missing, Report};
use serde_json::{Value, value::to_raw_value};
use std::{fs, path::PathBuf, pin::Pin, thread, time::Duration};
use tokio::sync::oneshot;

/// Measure calls of a method, in this process and in a child process
///
/// Builds the plugin, loads it into this process and into a child process for each lane, and calls the method many times
/// in all of them, in turn, from one thread. Prints the calls per second, the percentiles of their durations and their
/// allocations, and which `mode` the numbers suggest. Needs no host, and does not affect a running one: the plugin is
/// loaded for this command only, with an empty data folder.
#[derive(Debug, Args)]
#[command(
    after_help = "The plugin really executes every call. A method that returns an error is not measured.
A typed handle to a plugin in this process is faster than every row, because it encodes nothing.

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
        let Loaded { ones, left_out } = Loaded::start(&place, &dir, &call).await?;
        let profile = profile(&place.config.defaults, &ones[0].1);
        let plugin = ones[0].1.handle.id().to_string();
        let total = Duration::from_secs(self.seconds.into());
        let targets = ones.iter().map(|(lane, one)| (*lane, one.host.clone(), one.handle.clone())).collect();
        let measurement = Measurement { call: call.clone(), rows: Vec::new(), left_out };
        let measuring = with_spinner(
            format!("measuring {} for {} s", call.method, self.seconds),
            measurement.on_a_thread(targets, total),
        );
        let Measurement { rows, left_out, .. } = finished(ones, measuring).await?;
        let report = Report {
            plugin,
            method: call.method,
            arguments: call.arguments,
            profile,
            seconds: self.seconds,
            rows,
            left_out,
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

/// The plugin, loaded by a separate host for each way to reach it.
struct Loaded {
    /// Not empty.
    ones: Vec<(Lane, One)>,
    left_out: Vec<LeftOut>,
}

impl Loaded {
    /// Builds and loads the plugin. If the plugin starts in only one kind of body, the other kind is left out.
    async fn start(place: &Place, dir: &BenchDir, call: &CallSpec) -> Result<Self, CliError> {
        let (mut ones, mut failed) = (Vec::new(), Vec::<(Body, CliError)>::new());
        for lane in LANES {
            let body = lane.body();
            if failed.iter().any(|(other, _)| *other == body) {
                continue;
            }
            match start(place, dir, call, lane).await {
                Ok(one) => ones.push((lane, one)),
                Err(error) if depends_on_mode(&error) => failed.push((body, error)),
                Err(error) => return Err(error),
            }
        }
        if ones.is_empty()
            && let Some((_, error)) = failed.pop()
        {
            return Err(error);
        }
        let left_out = |(body, error): (Body, CliError)| LeftOut {
            what: Missing::Body(body),
            reason: error.to_string(),
        };
        Ok(Self { ones, left_out: failed.into_iter().map(left_out).collect() })
    }
}

/// Builds the plugin, and loads it in a host of its own.
async fn start(place: &Place, dir: &BenchDir, call: &CallSpec, lane: Lane) -> Result<One, CliError> {
    let mut config = place.config.clone();
    config.defaults = match lane {
        Lane::InProcess => config.defaults.in_mode(Mode::InProcess),
        Lane::Child(lane) => config.defaults.in_mode(Mode::Process).over_lane(lane),
    };
    config.state_dir = Some(dir.of(lane));
    let build_dir = place.build_dir();
    One::start_with(config, &call.plugin, |builder| builder.build_dir(build_dir)).await
}

/// Whether the plugin may run in the other mode in spite of this error.
fn depends_on_mode(error: &CliError) -> bool {
    let CliError::Host(HostError::Reload(error)) = error else { return false };
    matches!(error.stage, Stage::Preflight | Stage::Load | Stage::Migrate | Stage::Swap)
}

/// The cargo profile of the plugin. `None` if cargo does not build it.
fn profile(defaults: &Defaults, one: &One) -> Option<String> {
    let info = one.host.info(one.handle.id().as_str()).ok()?;
    let manifest = defaults.read(&info.path).ok()?;
    let is_built_by_cargo = manifest.binary.is_none() && manifest.build.script.is_none();
    is_built_by_cargo.then_some(manifest.build.profile)
}

/// Waits for the measurement, and then stops the hosts. A signal ends the wait.
async fn finished<T>(
    ones: Vec<(Lane, One)>,
    measuring: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let mut waiting: Pin<Box<dyn Future<Output = _>>> = Box::pin(measuring);
    for (_, one) in ones {
        waiting = Box::pin(async { one.finish(waiting).await? });
    }
    waiting.await
}

/// The calls of one method.
struct Measurement {
    call: CallSpec,
    rows: Vec<Row>,
    left_out: Vec<LeftOut>,
}

impl Measurement {
    /// Measures on a separate thread, so that a signal can end the command without waiting for a call.
    async fn on_a_thread(
        mut self,
        targets: Vec<(Lane, Host, DynHandle)>,
        total: Duration,
    ) -> Result<Self, CliError> {
        let (sender, measured) = oneshot::channel();
        let measure = move || {
            let measured = self.measure(&targets, total).map(|()| self);
            // An error means that a signal has ended the command.
            let _ = sender.send(measured);
        };
        thread::Builder::new().name("bench".into()).spawn(measure).map_err(CliError::Threads)?;
        measured.await.unwrap_or_else(|_| Err(CliError::Refused("the measurement has panicked".into())))
    }

    fn measure(&mut self, targets: &[(Lane, Host, DynHandle)], total: Duration) -> Result<(), CliError> {
        let mut ways = Vec::new();
        for (lane, host, handle) in targets {
            // The first call of each body shows whether the method and its arguments are valid.
            let first = handle.invoke_json(self.call.method.clone(), self.call.arguments.clone());
            first.wait().map_err(|error| unmeasured(error.into()))?;
            if let Lane::Child(lane) = lane
                && host.info(handle.id().as_str()).ok().and_then(|info| info.lane) != Some(*lane)
            {
                self.leave_out(Missing::Lane(*lane), "this machine cannot use it: see `replug doctor`");
                continue;
            }
            ways.extend(self.ways_of(*lane, handle)?);
        }
        measure::rounds(&mut ways, total).map_err(|error| unmeasured(error.into()))?;
        // This comes last, because an allocation takes longer while allocations are counted.
        let counting = count_allocations();
        if let Err(error) = &counting {
            self.leave_out(Missing::Allocations, &error.to_string());
        }
        for way in &ways {
            let allocations = counting.is_ok().then(|| way.allocations()).transpose();
            self.rows.push(way.row(allocations.map_err(|error| unmeasured(error.into()))?));
        }
        Ok(())
    }

    /// The ways in which a program can call the method. For a child process, only calls with types and with JSON text
    /// are measured: what the other ways add to the time of a call is the same as in process.
    fn ways_of(&mut self, lane: Lane, handle: &DynHandle) -> Result<Vec<Way>, CliError> {
        let (name, arguments) = (&self.call.method, self.call.arguments.clone());
        let method =
            handle.method(name.as_str()).map_err(|error| unmeasured(error.widen::<Value>().into()))?;
        let raw = to_raw_value(&arguments).expect("a JSON value can be written");
        let (resolved, values) = (method.clone(), arguments.clone());
        let call_raw: Call = Box::new(move || resolved.call_raw(&raw).map(drop));
        let mut ways = vec![Way::new(lane, Api::Raw, call_raw)];
        if lane == Lane::InProcess {
            let resolved = method.clone();
            let call_json = move || resolved.call_json(&values).map(drop);
            ways.push(Way::new(lane, Api::Json, Box::new(call_json)));
            let (handle, name, values) = (handle.clone(), name.clone(), arguments.clone());
            let by_name = move || handle.invoke_json(name.clone(), values.clone()).wait().map(drop);
            ways.push(Way::new(lane, Api::ByName, Box::new(by_name)));
        }
        let description = described(handle, name);
        let typed = description.as_ref().and_then(|of| typed::call(&method, of, &arguments));
        match (typed, description) {
            (Some(typed), _) => ways.insert(0, Way::new(lane, Api::Typed, typed)),
            (None, Some(method)) => {
                let signature = signature::of_method(&method);
                let reason = format!("this command was not compiled for the types of `{signature}`");
                self.leave_out(Missing::Api(Api::Typed), &reason);
            }
            (None, None) => {}
        }
        Ok(ways)
    }

    fn leave_out(&mut self, what: Missing, reason: &str) {
        // The same way of calling may be left out for several bodies, but is reported once.
        if self.left_out.iter().all(|left_out| left_out.what != what) {
            self.left_out.push(LeftOut { what, reason: reason.to_owned() });
        }
    }
}

/// The description of a method. Its name may be `Interface.name`.
fn described(handle: &DynHandle, name: &str) -> Option<describe::Method> {
    let (interface, name) = name.rsplit_once('.').map_or((None, name), |(of, name)| (Some(of), name));
    let interfaces = handle.interfaces().into_iter();
    let mut interfaces = interfaces.filter(|of| interface.is_none_or(|wanted| of.name == wanted));
    interfaces.find_map(|of| of.methods.into_iter().find(|method| method.name == name))
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
