//! Reloads thousands of different artifacts in one process, while threads call the plugin without pause. `cargo xtask
//! soak` runs it.
//!
//! Every artifact calls `thread::current()`, starts a thread, and leaves a thread-local value with a destructor in
//! every thread that calls it. The artifacts are reloaded like a user's plugin: the program replaces a file, and the
//! host reloads it.

mod callers;

use anyhow::{Context, Result, bail, ensure};
use callers::{Board, Callers, Seen, come_and_go};
use clap::{Parser, ValueEnum};
use replug::{
    Event, EventKind, Events, Handle, Host, HostError,
    error::{PreflightError, ReloadCause},
};
use replug_interfaces::Counter;
use replug_tests::{
    numbered::Numbered,
    resource_usage::{self, ResourceUsage},
    sandbox::{Sandbox, Std},
};
use std::{
    fs,
    path::PathBuf,
    process::ExitCode,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};
use tempfile::TempDir;

const ID: &str = "dev.replug.numbered";

/// After this many reloads, everything that is allocated only once has been allocated.
const WARM_UP: u64 = 100;

/// Where the artifacts are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Into the program itself
    InProcess,
    /// Each into a child process
    Process,
}

impl Mode {
    /// How much memory of the host a retired generation may keep.
    fn limit_kib(self) -> f64 {
        match self {
            Self::InProcess => 64.0,
            Self::Process => 2.0,
        }
    }

    /// The lines of the manifest for this mode.
    fn manifest(self) -> &'static str {
        match self {
            // Trials are off: they load the artifact into a child process, but this run measures what loads into the
            // program itself leave behind.
            Self::InProcess => "mode = \"in-process\"\nreload.preflight = \"off\"\n",
            Self::Process => "mode = \"process\"\n",
        }
    }
}

/// How much the memory may grow in a run of any length, because other threads of the host allocate memory, too.
const NOISE_KIB: u64 = 1024;

/// How many more descriptors may be open at the end than at the beginning: the pipes to a process that is ending, and
/// the connections of running calls.
const SPARE_DESCRIPTORS: usize = 16;

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
    mode: Mode,
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
    if arguments.mode == Mode::Process {
        resource_usage::with_few_arenas()?;
    }
    let std = if arguments.own_std { Std::Own } else { Std::Shared };
    let soak = Soak::begin(std, arguments.mode)?;
    if arguments.own_std { soak.run_to_the_limit(arguments.reloads) } else { soak.run(arguments.reloads) }
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
    mode: Mode,
    retired: u64,
    reload_ms: Vec<f64>,
    swap_ms: Vec<f64>,
}

impl Soak {
    fn begin(std: Std, mode: Mode) -> Result<Self> {
        let sandbox = Sandbox::fresh("soak")?;
        sandbox.use_compiled_dependencies()?;
        let package = sandbox.add("tests/fixtures/numbered")?;
        println!("building the artifact");
        let mut artifacts = Numbered::read(&sandbox.build(&package, std)?)?;
        let served = tempfile::tempdir()?;
        let plugin = served.path().join("numbered");
        let binary = plugin.join("numbered.so");
        fs::create_dir(&plugin)?;
        let manifest = format!("id = \"{ID}\"\nbinary = \"numbered.so\"\n{}", mode.manifest());
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
            mode,
            retired: 0,
            reload_ms: Vec::new(),
            swap_ms: Vec::new(),
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
            EventKind::GenerationRetired { .. } => self.retired += 1,
            EventKind::Reloaded { stages, .. } => self.swap_ms.push(stages.swap),
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

    fn run(mut self, reloads: u64) -> Result<()> {
        let callers = Callers::start(2, &self.handle, &self.board);
        let began = Instant::now();
        let mut before = ResourceUsage::now()?;
        for number in 1..=reloads {
            self.reload(number).with_context(|| format!("reload {number} failed"))?;
            if number == WARM_UP {
                self.wait_for_retired(WARM_UP)?;
                before = ResourceUsage::now()?;
            }
            if number % 500 == 0 {
                println!("{number} reloads in {:.0} s", began.elapsed().as_secs_f64());
            }
        }
        self.wait_for_retired(reloads)?;
        let after = ResourceUsage::now()?;
        let took = began.elapsed();
        let mut seen = callers.join();
        seen = [seen, come_and_go(16, &self.handle, &self.board)].into_iter().sum();
        self.host.shutdown().wait();

        let generations = (reloads - WARM_UP) as f64;
        let each = |after: u64, before: u64| (after as f64 - before as f64) / generations;
        let private = each(after.private_kib, before.private_kib);
        let resident = each(after.resident_kib, before.resident_kib);
        let grew = after.tls_keys.saturating_sub(before.tls_keys);
        let limit = self.mode.limit_kib();
        let Seen { calls, failed, wrong } = seen;
        self.reload_ms.sort_by(f64::total_cmp);
        self.swap_ms.sort_by(f64::total_cmp);
        let (reload, swap) = (&self.reload_ms, &self.swap_ms);
        println!("reloads             {reloads} in {:.1} s", took.as_secs_f64());
        println!("calls               {calls}");
        println!("failed calls        {failed}");
        println!("wrong generation    {wrong}");
        println!("thread-local keys   {} before, {} after", before.tls_keys, after.tls_keys);
        println!("descriptors         {} before, {} after", before.descriptors, after.descriptors);
        println!(
            "kept per generation {private:.1} KiB of private memory, {resident:.1} KiB with the file's pages"
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
        ensure!(failed == 0, "{failed} calls failed");
        ensure!(wrong == 0, "{wrong} calls were answered by the wrong generation");
        ensure!(grew == 0, "{grew} thread-local keys were allocated and not freed");
        let grew_kib = after.private_kib.saturating_sub(before.private_kib);
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
        println!("ok");
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
