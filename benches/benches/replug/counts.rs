//! Figures that do not depend on the speed of the machine: the instructions of a call in process, counted by callgrind,
//! and the system calls of a call over shared memory, counted by strace.

use anyhow::{Context, Result, ensure};
use replug::{Handle, Host};
use replug_benches::{Section, Table, Target};
use replug_interfaces::Counter;
use replug_tests::{
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use serde_json::json;
use std::{env, fs, hint::black_box, path::Path, process::Command};

/// With this argument, this program only makes calls. It is started so under callgrind or strace. The next arguments
/// are the plugins folder, the kind of the calls, and their number.
const COUNTED: &str = "--counted";
const ID: &str = "dev.replug.counted";
const CALLS: u64 = 20_000;

/// The kinds of calls, each with the maximum number of instructions of a call.
const KINDS: [(&str, u64); 3] =
    [("typed handle", 100), ("resolved method, with types", 1_050), ("resolved method, with JSON", 1_250)];

/// Makes calls if this process was started for that.
pub(crate) fn count_if_asked() -> Result<()> {
    let mut arguments = env::args().skip(1);
    if arguments.next().as_deref() != Some(COUNTED) {
        return Ok(());
    }
    let [folder, kind, calls] = [(); 3].map(|()| arguments.next().unwrap_or_default());
    let calls = calls.parse()?;
    let host = Host::builder().plugins(&folder).build().wait()?;
    let typed: Handle<dyn Counter> = host.get(ID)?;
    typed.value().context("the plugin did not start")?;
    let resolved = host.plugin(ID)?.method("increment")?;
    let with_types = resolved.typed::<(u64,), u64>()?;
    let mut call: Box<dyn FnMut()> = match &*kind {
        "typed handle" => Box::new(|| drop(black_box(typed.increment(black_box(1))))),
        "resolved method, with types" => Box::new(|| drop(black_box(with_types.call(&(black_box(1),))))),
        _ => Box::new(|| drop(black_box(resolved.call_json(&json!([black_box(1)]))))),
    };
    counted_calls(&mut *call, calls);
    drop(call);
    host.shutdown().wait();
    std::process::exit(0)
}

/// Callgrind counts the instructions of this function and of what it calls.
#[inline(never)]
fn counted_calls(call: &mut dyn FnMut(), calls: u64) {
    (0..calls).for_each(|_| call());
}

pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    let mut artifact = Numbered::read(&sandbox.build(&package, Std::Shared)?)?;
    let mut folder = |lines: &str| -> Result<_> {
        let folder = tempfile::tempdir()?;
        artifact.put(0, &folder.path().join("plugin.so"))?;
        let manifest =
            format!("id = \"{ID}\"\nbinary = \"plugin.so\"\n{lines}\n[reload]\npreflight = \"off\"\n");
        fs::write(folder.path().join("plugin.toml"), manifest)?;
        Ok(folder)
    };
    let in_process = folder("mode = \"in-process\"")?;
    let child = folder("mode = \"process\"")?;
    let instructions = KINDS
        .into_iter()
        .map(|(kind, most)| Ok((kind, instructions(in_process.path(), kind)?, most)))
        .collect::<Result<Vec<_>>>()?;
    let system_calls = system_calls(child.path())?;
    Ok(section(&instructions, system_calls))
}

/// The instructions of one call, or `None` if valgrind is not installed.
fn instructions(folder: &Path, kind: &str) -> Result<Option<f64>> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*counted_calls*"]);
    let Some(report) = report_of(valgrind, folder, (kind, CALLS))? else { return Ok(None) };
    let collected = report.lines().find_map(|line| line.split_once("Collected :"));
    let collected: f64 = collected.context("callgrind reports no count")?.1.trim().parse()?;
    Ok(Some(collected / CALLS as f64))
}

/// The system calls of one call, of all threads of the host and of the plugin's process, or `None` if strace is not
/// installed. The counts of two runs are subtracted, so that the start and the end of the program do not count.
fn system_calls(folder: &Path) -> Result<Option<f64>> {
    let count = |calls: u64| -> Result<Option<f64>> {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-q"]);
        let Some(report) = report_of(strace, folder, ("typed handle", calls))? else { return Ok(None) };
        let total = report.lines().rev().find(|line| line.trim_end().ends_with("total"));
        let total =
            total.and_then(|line| line.split_whitespace().nth(3)).context("strace reports no count")?;
        Ok(Some(total.parse()?))
    };
    let Some(few) = count(1_000)? else { return Ok(None) };
    let Some(many) = count(1_000 + CALLS)? else { return Ok(None) };
    Ok(Some(((many - few) / CALLS as f64).max(0.0)))
}

/// Runs this program under `counter`, and returns what `counter` writes to its standard error. `None` if `counter` is not
/// installed.
fn report_of(mut counter: Command, folder: &Path, (kind, calls): (&str, u64)) -> Result<Option<String>> {
    counter.arg(env::current_exe()?).arg(COUNTED).arg(folder).args([kind, &calls.to_string()]);
    let output = match counter.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        output => output?,
    };
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{counter:?} failed: {report}");
    Ok(Some(report))
}

fn section(instructions: &[(&'static str, Option<f64>, u64)], system_calls: Option<f64>) -> Section {
    let missing = |program: &str| format!("not measured: install `{program}`");
    let instruction_cell =
        |count: &Option<f64>| count.map_or_else(|| missing("valgrind"), |count| format!("{count:.1}"));
    let system_call_cell = system_calls.map_or_else(|| missing("strace"), |count| format!("{count:.3}"));
    let within = |(_, count, most): &(_, Option<f64>, u64)| count.map(|count| count <= *most as f64);
    let within: Option<Vec<bool>> = instructions.iter().map(within).collect();
    let bounds = instructions
        .iter()
        .map(|(kind, count, most)| format!("{kind} {} (limit {most})", instruction_cell(count)));
    Section {
        title: "Counts of a call",
        tables: vec![Table {
            columns: vec!["call", "counted", "each"],
            rows: instructions
                .iter()
                .map(|(kind, count, _)| {
                    vec![(*kind).to_owned(), "instructions".into(), instruction_cell(count)]
                })
                .chain([vec![
                    "typed handle, over shared memory".into(),
                    "system calls".into(),
                    system_call_cell.clone(),
                ]])
                .collect(),
        }],
        // What was not measured is neither met nor missed.
        targets: within
            .map(|within| Target {
                what: "instructions of a call in process",
                bound: "each at most its limit",
                measured: bounds.collect::<Vec<_>>().join("; "),
                met: !within.contains(&false),
                ..Target::default()
            })
            .into_iter()
            .chain(system_calls.map(|count| Target {
                what: "system calls of a call over shared memory",
                bound: "fewer than 0.1",
                measured: system_call_cell,
                met: count < 0.1,
                ..Target::default()
            }))
            .collect(),
        ..Section::default()
    }
}
