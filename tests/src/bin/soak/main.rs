//! Reloads thousands of different artifacts in one process, while threads call the plugin without pause. `cargo xtask
//! soak` runs it.
//!
//! Every artifact calls `thread::current()`, starts a thread, and leaves a thread-local value with a destructor in
//! every thread that calls it. The artifacts are reloaded like a user's plugin: the program replaces a file, and the
//! host reloads it.

mod callers;
mod charts;
mod kind;
mod samples;

use anyhow::{Context, Result, bail, ensure};
use callers::{Board, Callers, Seen, come_and_go};
use clap::Parser;
use kind::Kind;
use replug::{
    Event, EventKind, Events, Handle, Host, HostError,
    error::{PreflightError, ReloadCause},
    event::RetireOutcome,
};
use replug_interfaces::Counter;
use replug_tests::{
    numbered::Numbered,
    resource_usage::{self, ResourceUsage},
    sandbox::{Sandbox, Std},
    stop_request::{REQUESTS, StopRequest},
};
use samples::Samples;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const ID: &str = "dev.replug.numbered";

/// After this many reloads, everything that is allocated only once has been allocated.
const WARM_UP: u64 = 100;

/// The target for the last loads: at most this many times as long as the loads after the warm-up.
const MOST_SLOWDOWN: f64 = 3.0;

/// How much the memory may grow in a run of any length, because other threads of the host allocate memory, too.
const NOISE_KIB: u64 = 1024;

/// How many more descriptors may be open at the end than at the beginning, for the pipes to a process that is ending and
/// for the connections of running calls.
const SPARE_DESCRIPTORS: usize = 16;

/// How long a reload, and the end of the run, may take after a signal has asked the program to exit.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
#[command(
    name = "soak",
    about = "Reloads many different artifacts under load, and checks what that leaves behind"
)]
struct Arguments {
    /// How many artifacts to load
    #[arg(long, default_value_t = 3000)]
    reloads: u64,
    /// Link each artifact with its own copy of std: the host must stop reloading in time, and keep serving
    #[arg(long, conflicts_with = "mode")]
    own_std: bool,
    /// Where to load the artifacts
    #[arg(long, value_enum, default_value = "in-process")]
    mode: Kind,
    /// Write the course of the run into this folder, and the data of a chart of all runs in it
    #[arg(long, value_name = "FOLDER")]
    report: Option<PathBuf>,
}

fn main() -> ExitCode {
    replug::shim::run_if_asked();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(
        arguments.reloads > WARM_UP,
        "--reloads must be more than {WARM_UP}: the first {WARM_UP} reloads are the warm-up"
    );
    if arguments.mode != Kind::InProcess {
        resource_usage::with_few_arenas()?;
    }
    let std = if arguments.own_std { Std::Own } else { Std::Shared };
    let soak = Soak::begin(std, arguments.mode, arguments.reloads)?;
    match arguments.own_std {
        true => soak.run_to_the_limit(arguments.reloads),
        false => soak.run(arguments.reloads, arguments.report.as_deref()),
    }
}

/// A host with one plugin, whose file is replaced again and again.
struct Soak {
    host: Host,
    events: Events,
    artifacts: Numbered,
    binary: PathBuf,
    /// The plugins folder, which is removed when this is dropped.
    _served: TempDir,
    handle: Arc<Handle<dyn Counter>>,
    board: Arc<Board>,
    kind: Kind,
    retired: u64,
    outcomes: BTreeMap<RetireOutcome, u64>,
    reload_ms: Vec<f64>,
    swap_ms: Vec<f64>,
    samples: Samples,
}

impl Soak {
    fn begin(std: Std, kind: Kind, reloads: u64) -> Result<Self> {
        let sandbox = Sandbox::fresh("soak")?;
        sandbox.use_compiled_dependencies()?;
        let package = sandbox.add("tests/fixtures/numbered")?;
        println!("building the artifact");
        let mut artifacts = Numbered::read(&sandbox.build(&package, std)?)?;
        let served = tempfile::tempdir()?;
        let plugin = served.path().join("numbered");
        let binary = plugin.join("numbered.so");
        fs::create_dir(&plugin)?;
        let manifest = format!("id = \"{ID}\"\nbinary = \"numbered.so\"\n{}", kind.manifest());
        fs::write(plugin.join("plugin.toml"), manifest)?;
        artifacts.put(0, &binary)?;
        let builder = Host::builder().plugins(served.path());
        let mut events = builder.events();
        let host = builder.build().wait()?;
        let handle = host.get(ID).with_context(|| why(&mut events))?;
        Ok(Self {
            host,
            events,
            artifacts,
            binary,
            _served: served,
            handle: Arc::new(handle),
            board: Arc::default(),
            kind,
            retired: 0,
            outcomes: BTreeMap::new(),
            reload_ms: Vec::new(),
            swap_ms: Vec::new(),
            samples: Samples::of_run(reloads),
        })
    }

    /// Replaces the file and makes the host reload it.
    fn reload(&mut self, number: u64) -> Result<(), HostError> {
        self.artifacts.put(number, &self.binary).expect("the plugin's folder can be written");
        self.board.offered.store(number, Ordering::SeqCst);
        let began = Instant::now();
        self.host.reload(ID).wait()?;
        self.reload_ms.push(began.elapsed().as_secs_f64() * 1e3);
        self.board.published.store(number, Ordering::SeqCst);
        self.look_at_events();
        Ok(())
    }

    fn look_at_events(&mut self) {
        while let Some(event) = self.events.try_next() {
            self.look_at(&event);
        }
    }

    fn look_at(&mut self, event: &Event) {
        match &event.kind {
            EventKind::GenerationRetired { outcome } => {
                self.retired += 1;
                *self.outcomes.entry(*outcome).or_default() += 1;
            }
            EventKind::Reloaded { stages, .. } => {
                self.swap_ms.push(stages.swap);
                self.samples.note(stages.load + stages.swap);
            }
            _ => {}
        }
    }

    fn wait_for_retired(&mut self, count: u64) -> Result<()> {
        while self.retired < count {
            let event = self.events.next_blocking().context("the host has ended")?;
            self.look_at(&event);
        }
        Ok(())
    }

    fn run(mut self, reloads: u64, report: Option<&Path>) -> Result<()> {
        let stop = StopRequest::listen(&REQUESTS, PATIENCE)?;
        println!("reloading {reloads} artifacts");
        let callers = Callers::start(2, &self.handle, &self.board);
        let began = Instant::now();
        let mut before = samples::usage()?;
        let mut done = 0;
        for number in (1..=reloads).take_while(|_| stop.by().is_none()) {
            self.reload(number).with_context(|| format!("reload {number} failed"))?;
            self.samples.take_if_due(number)?;
            if number == WARM_UP {
                self.wait_for_retired(WARM_UP)?;
                before = samples::usage()?;
            }
            if number % 500 == 0 {
                println!("{number} reloads in {:.0} s", began.elapsed().as_secs_f64());
            }
            done = number;
        }
        self.wait_for_retired(done)?;
        let after = samples::usage()?;
        let took = began.elapsed();
        let mut seen = callers.join();
        seen = [seen, come_and_go(16, &self.handle, &self.board)].into_iter().sum();
        self.host.shutdown().wait();
        let results = Results { reloads: done, took, seen, before, after };
        self.print(&results);
        if let Some(by) = stop.by() {
            bail!("stopped by {by} after {done} of {reloads} reloads");
        }
        if let Some(folder) = report {
            self.samples.write(folder, self.kind.file(), self.head(&results))?;
            charts::write(folder)?;
        }
        self.check(&results)?;
        println!("ok");
        Ok(())
    }

    fn print(&mut self, results: &Results) {
        let Results { reloads, took, seen, before, after } = results;
        let Seen { calls, failed, wrong } = seen;
        self.reload_ms.sort_by(f64::total_cmp);
        self.swap_ms.sort_by(f64::total_cmp);
        let (reload, swap) = (&self.reload_ms, &self.swap_ms);
        println!("reloads             {reloads} in {:.1} s", took.as_secs_f64());
        println!("calls               {calls}");
        println!("failed calls        {failed}");
        println!("wrong generation    {wrong}");
        let outcomes = self.outcomes.iter().map(|(outcome, count)| format!("{} {count}", outcome.name()));
        println!("generations ended   {}", outcomes.collect::<Vec<_>>().join(", "));
        println!("thread-local keys   {} before, {} after", before.tls_keys, after.tls_keys);
        println!("descriptors         {} before, {} after", before.descriptors, after.descriptors);
        println!(
            "kept per generation {:.1} KiB of private memory, {:.1} KiB with the file's pages",
            results.kept(|usage| usage.private_kib),
            results.kept(|usage| usage.resident_kib)
        );
        println!(
            "                    (/proc/self/smaps_rollup, Anonymous and Rss, after reload {WARM_UP} and after the last)"
        );
        println!("artifact            {} KiB", self.artifacts.bytes() / 1024);
        println!(
            "reload              p50 {:.2} ms, p99 {:.2} ms",
            quantile(reload, 0.5),
            quantile(reload, 0.99)
        );
        println!("of this, the swap   p50 {:.3} ms, p99 {:.3} ms", quantile(swap, 0.5), quantile(swap, 0.99));
        let (first, last) = self.load_times(*reloads);
        // The run does not fail because of a time, which depends on what else the machine does.
        let verdict = if last <= MOST_SLOWDOWN * first { "met" } else { "MISSED" };
        println!(
            "load and swap       {first:.2} ms at reload {WARM_UP}, {last:.2} ms at reload {reloads} (at most {MOST_SLOWDOWN} times: {verdict})"
        );
    }

    /// The durations of load and swap after the warm-up and at the end, in milliseconds.
    fn load_times(&self, reloads: u64) -> (f64, f64) {
        (self.samples.load_around(WARM_UP), self.samples.load_around(reloads))
    }

    /// The results as JSON.
    fn head(&self, results: &Results) -> Value {
        let (first, last) = self.load_times(results.reloads);
        let outcomes = self.outcomes.iter().map(|(outcome, count)| (outcome.name().to_owned(), json!(count)));
        json!({
            "kind": self.kind.name(),
            "reloads": results.reloads,
            "seconds": results.took.as_secs_f64(),
            "calls": results.seen.calls,
            "failed_calls": results.seen.failed,
            "wrong_answers": results.seen.wrong,
            "generations_ended": Value::Object(outcomes.collect()),
            "kept_kib_per_generation": results.kept(|usage| usage.private_kib),
            "load_and_swap_ms_after_warm_up": first,
            "load_and_swap_ms_at_the_end": last,
            "artifact_bytes": self.artifacts.bytes(),
        })
    }

    fn check(&self, results: &Results) -> Result<()> {
        let Results { reloads, seen, before, after, .. } = results;
        let Seen { failed, wrong, .. } = seen;
        ensure!(*failed == 0, "{failed} calls failed");
        ensure!(*wrong == 0, "{wrong} calls were answered by the wrong generation");
        let outcome = self.kind.outcome();
        let ended = self.outcomes.get(&outcome).copied().unwrap_or(0);
        let least = reloads * self.kind.least_percent() / 100;
        ensure!(ended >= least, "{ended} of {reloads} generations ended as `{}`", outcome.name());
        let grew = after.tls_keys.saturating_sub(before.tls_keys);
        ensure!(grew == 0, "{grew} thread-local keys were allocated and not freed");
        let grew_kib = after.private_kib.saturating_sub(before.private_kib);
        let (private, limit) = (results.kept(|usage| usage.private_kib), self.kind.limit_kib());
        ensure!(
            private < limit || grew_kib < NOISE_KIB,
            "a generation keeps {private:.1} KiB, more than {limit}"
        );
        ensure!(
            after.descriptors <= before.descriptors + SPARE_DESCRIPTORS,
            "the number of open descriptors grew from {} to {}",
            before.descriptors,
            after.descriptors
        );
        Ok(())
    }

    /// Reloads until the host rejects an artifact, and checks that the plugin keeps serving.
    fn run_to_the_limit(mut self, reloads: u64) -> Result<()> {
        let callers = Callers::start(2, &self.handle, &self.board);
        for number in 1..=reloads {
            let Err(refused) = self.reload(number) else { continue };
            let last = number - 1;
            let cause = match &refused {
                HostError::Reload(error) => &*error.cause,
                _ => bail!("reload {number} failed with an unexpected error: {refused}"),
            };
            ensure!(
                matches!(cause, ReloadCause::Preflight(PreflightError::OutOfTlsKeys { .. })),
                "reload {number} failed with an unexpected error: {refused}"
            );
            println!("reload {number} was rejected:\n  {refused}");
            let mut seen = callers.join();
            let answer = self.handle.value()?;
            seen = [seen, come_and_go(16, &self.handle, &self.board)].into_iter().sum();
            self.host.shutdown().wait();
            println!("afterwards          number {answer} still answers");
            println!("thread-local keys   {} of 1024", ResourceUsage::now()?.tls_keys);
            println!("calls               {}", seen.calls);
            println!("failed calls        {}", seen.failed);
            println!("wrong generation    {}", seen.wrong);
            ensure!(answer == last, "artifact {answer} answers, but {last} was the last that started");
            ensure!(
                seen.failed == 0 && seen.wrong == 0,
                "{} calls failed, {} returned a wrong answer",
                seen.failed,
                seen.wrong
            );
            println!("ok");
            return Ok(());
        }
        bail!("none of {reloads} reloads was rejected")
    }
}

/// The results of a run.
struct Results {
    reloads: u64,
    took: Duration,
    seen: Seen,
    /// After the warm-up.
    before: ResourceUsage,
    after: ResourceUsage,
}

impl Results {
    /// By how many KiB each generation has increased a value.
    fn kept(&self, value: fn(&ResourceUsage) -> u64) -> f64 {
        (value(&self.after) as f64 - value(&self.before) as f64)
            / self.reloads.saturating_sub(WARM_UP).max(1) as f64
    }
}

/// Why the plugin did not start.
fn why(events: &mut Events) -> String {
    let mut reasons = Vec::new();
    while let Some(event) = events.try_next() {
        match &event.kind {
            EventKind::ReloadFailed { error, .. } | EventKind::BuildFailed { error, .. } => {
                reasons.push(error.clone())
            }
            _ => {}
        }
    }
    reasons.join("; ")
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or_default()
}
