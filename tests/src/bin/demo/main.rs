//! The demo (`cargo xtask demo`). It needs no input, works on copies of the example plugins, and exits with status 1 if
//! a step fails or a call is lost.

mod callers;
mod show;

use anyhow::{Context, Result, bail, ensure};
use callers::{Callers, Seen};
use replug::{
    CallError, EventKind, Events, Handle, Host,
    event::{Diagnostic, Stages},
};
use replug_interfaces::{Calculator, Greeter};
use replug_tests::sandbox::Sandbox;
use serde_json::json;
use show::{bad, count, diagnostic, good, heading, line, stages};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Instant,
};

const CALCULATOR: &str = "dev.replug.calculator";
const GREETER: &str = "dev.replug.hello-world";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let sandbox = Sandbox::fresh("demo")?;
    sandbox.add("plugins/calculator")?;
    let source = Source::read(sandbox.add("plugins/hello-world")?)?;

    heading("Discover and start");
    line("plugins folder", shown(&sandbox.plugins_dir()));
    line("building", "the first time takes a minute");
    // The host must not continue with the artifacts of an earlier demo, because they contain edits that the current
    // source lacks.
    let builder =
        Host::builder().plugins(sandbox.plugins_dir()).state_dir(sandbox.state_dir()).remember(false);
    let builder = builder.watch(true);
    let mut events = builder.events();
    let host = builder.build().wait()?;
    for plugin in host.plugins() {
        let generation = plugin.generation.map_or_else(|| plugin.detail.clone(), |it| it.to_string());
        good(plugin.id.as_str(), format!("{generation} offers {}", plugin.interfaces.join(", ")));
    }
    let calculator: Handle<dyn Calculator> = host.get(CALCULATOR)?;
    let greeter: Arc<Handle<dyn Greeter>> = Arc::new(host.get(GREETER)?);

    arithmetic(&calculator)?;
    errors(&host, &calculator)?;
    timing(&host, &calculator)?;
    status(&host)?;
    edits(&source, &greeter, &mut events)?;
    shut_down(&host, &greeter, &mut events)
}

fn arithmetic(calculator: &Handle<dyn Calculator>) -> Result<()> {
    heading("Arithmetic, through a typed handle");
    line("add(10, 5)", calculator.add(10.0, 5.0)?);
    line("subtract(10, 5)", calculator.subtract(10.0, 5.0)?);
    line("multiply(10, 5)", calculator.multiply(10.0, 5.0)?);
    line("divide(10, 4)", calculator.divide(10.0, 4.0)?);
    line("sqrt(2)", calculator.sqrt(2.0)?);
    line("power(2, 10)", calculator.power(2.0, 10.0)?);
    line("factorial(20)", calculator.factorial(20)?);
    line("history", format!("{} calculations", calculator.history()?.len()));
    Ok(())
}

fn errors(host: &Host, calculator: &Handle<dyn Calculator>) -> Result<()> {
    heading("Errors");
    for (call, result) in [
        ("divide(1, 0)", calculator.divide(1.0, 0.0)),
        ("sqrt(-4)", calculator.sqrt(-4.0)),
        ("factorial(21)", calculator.factorial(21).map(|result| result as f64)),
    ] {
        match result {
            Err(CallError::Plugin(error)) => line(call, format!("{}: {}", error.code, error.message)),
            other => bail!("{call} should have returned an error, but returned {other:?}"),
        }
    }
    let dynamic = host.plugin(CALCULATOR)?;
    for (call, result) in [
        ("subtrakt(1, 2)", dynamic.invoke_json("subtrakt", json!([1, 2])).wait()),
        ("add(1, \"two\")", dynamic.invoke_json("add", json!([1, "two"])).wait()),
    ] {
        match result {
            Err(error) => line(call, error),
            Ok(value) => bail!("{call} should have returned an error, but returned {value}"),
        }
    }
    Ok(())
}

fn timing(host: &Host, calculator: &Handle<dyn Calculator>) -> Result<()> {
    const CALLS: u32 = 10_000;
    heading(if cfg!(debug_assertions) { "10,000 calls (debug build)" } else { "10,000 calls" });
    let report = |what, began: Instant| {
        let took = began.elapsed();
        line(
            what,
            format!(
                "{:>8.2} ms in total, {:>8.0} ns each",
                took.as_secs_f64() * 1e3,
                (took / CALLS).as_nanos()
            ),
        );
    };
    let began = Instant::now();
    for number in 0..CALLS {
        calculator.add(f64::from(number), 1.0)?;
    }
    report("typed", began);
    let dynamic = host.plugin(CALCULATOR)?;
    let began = Instant::now();
    for number in 0..CALLS {
        dynamic.invoke_json("add", json!({ "a": number, "b": 1 })).wait()?;
    }
    report("by name, with JSON", began);
    Ok(())
}

fn status(host: &Host) -> Result<()> {
    heading("Status");
    let info = host.info(CALCULATOR)?;
    line("calculator", format!("{:?}", info.status).to_lowercase());
    line("generation", info.generation.map(|generation| generation.to_string()).unwrap_or_default());
    line("calls", format!("{}, {} of them failed", count(info.calls), info.failures));
    line("up for", format!("{:.1} s", info.uptime_s.unwrap_or_default()));
    Ok(())
}

fn edits(source: &Source, greeter: &Arc<Handle<dyn Greeter>>, events: &mut Events) -> Result<()> {
    heading("Edit hello-world while two threads call it without pause");
    line("file", shown(&source.file));
    line("greet(\"World\")", greeter.greet("World")?);
    let called = greeter.clone();
    let callers = Callers::start(move || called.greet("World").map_err(|error| error.to_string()));
    callers.wait_for_a_call_of_each();
    let went_live = |saved: Saved| match saved {
        Saved::Live(what) => {
            callers.wait_for_a_call_of_each();
            good("swapped", what);
            line("greet(\"World\")", greeter.greet("World")?);
            line("calls so far", count(callers.calls()));
            Ok(())
        }
        Saved::Refused { error, .. } => bail!("the edited version does not serve: {error}"),
    };

    line("saved", "\"Good day, {name}!\"");
    went_live(source.save("\"Good day, {name}!\"", events)?)?;

    heading("An edit that does not compile");
    line("saved", "\"Good evening, {nane}!\"");
    match source.save("\"Good evening, {nane}!\"", events)? {
        Saved::Refused { error, diagnostics } => {
            bad("not swapped", error);
            diagnostics.iter().for_each(|it| diagnostic(&it.rendered));
        }
        Saved::Live(what) => bail!("the edit should not have compiled, but the result is {what}"),
    }
    line("greet(\"World\")", greeter.greet("World")?);
    line("calls so far", count(callers.calls()));

    heading("The repaired edit");
    line("saved", "\"Good evening, {name}!\"");
    went_live(source.save("\"Good evening, {name}!\"", events)?)?;

    heading("What the two threads saw");
    let Seen { answers, failures, stale } = callers.join();
    for (answer, calls) in &answers {
        line(&format!("{answer:?}"), format!("{:>14} calls", count(*calls)));
    }
    line("failed", format!("{:>14} calls", failures.len()));
    line("old version after new", format!("{stale:>14} calls"));
    ensure!(failures.is_empty(), "{} calls failed, the first with: {}", failures.len(), failures[0]);
    ensure!(stale == 0, "{stale} calls were answered by an older version after a newer one");
    ensure!(answers.len() == 3, "there should have been 3 different answers: {answers:?}");
    Ok(())
}

fn shut_down(host: &Host, greeter: &Handle<dyn Greeter>, events: &mut Events) -> Result<()> {
    heading("Shut down");
    host.shutdown().wait();
    while let Some(event) = events.try_next() {
        if let (EventKind::PluginStopped { reason }, Some(plugin)) = (&event.kind, &event.plugin) {
            line("stopped", format!("{plugin}: {reason}"));
        }
    }
    let after = greeter.greet("World");
    let Err(error @ CallError::NotRunning { .. }) = after else {
        bail!("a call after the shutdown was answered: {after:?}")
    };
    line("greet(\"World\")", error);
    println!();
    Ok(())
}

/// The source file that is edited.
struct Source {
    file: PathBuf,
    original: String,
}

/// The result of a save.
enum Saved {
    Live(String),
    Refused { error: String, diagnostics: Vec<Diagnostic> },
}

impl Source {
    const GREETING: &str = "\"Hello, {name}!\"";

    fn read(package: PathBuf) -> Result<Self> {
        let file = package.join("src/lib.rs");
        // The user may have edited the greeting.
        let edited = fs::read_to_string(&file)?;
        let greeting =
            edited.split_once("format!(").and_then(|(_, rest)| rest.split_once(')')).map(|it| it.0);
        let greeting = greeting.context(
            "plugins/hello-world/src/lib.rs has no greeting of the form `format!(\"..\")`: restore it, for example with `git checkout plugins/hello-world`",
        )?;
        let original = edited.replacen(greeting, Self::GREETING, 1);
        fs::write(&file, &original)?;
        Ok(Self { file, original })
    }

    /// Saves the source with another greeting, as an editor would, and waits for the result of the reload.
    fn save(&self, greeting: &str, events: &mut Events) -> Result<Saved> {
        while events.try_next().is_some() {}
        fs::write(&self.file, self.original.replacen(Self::GREETING, greeting, 1))?;
        loop {
            let event = events.next_blocking().context("the host has ended")?;
            match &event.kind {
                EventKind::Reloaded { stages: of, total_ms, .. } => {
                    let generation = event.generation.context("a reload has a generation")?;
                    let of: &Stages = of;
                    return Ok(Saved::Live(format!("{generation} {}", stages(*total_ms, of))));
                }
                EventKind::BuildFailed { error, diagnostics } => {
                    return Ok(Saved::Refused { error: error.clone(), diagnostics: diagnostics.clone() });
                }
                EventKind::ReloadFailed { error, .. } => {
                    return Ok(Saved::Refused { error: error.clone(), diagnostics: Vec::new() });
                }
                _ => {}
            }
        }
    }
}

/// A path relative to the current folder.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
