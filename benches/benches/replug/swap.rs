//! The cost of a reload without its build, while a thread calls the plugin.

use anyhow::{Context, Result};
use replug::{EventKind, Handle, Host, event::Stages};
use replug_benches::{Section, Table, Target, quantile};
use replug_interfaces::Counter;
use replug_tests::{
    numbered::Numbered,
    sandbox::{Sandbox, Std},
};
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

const ID: &str = "dev.replug.numbered";
const RELOADS: u64 = 200;

/// Measures reloads of a plugin without state whose new artifact exists already.
pub(crate) fn measure() -> Result<Section> {
    let sandbox = Sandbox::fresh("bench")?;
    let package = sandbox.add("tests/fixtures/numbered")?;
    let mut artifacts = Numbered::read(&sandbox.build(&package, Std::Shared)?)?;
    let served = tempfile::tempdir()?;
    let binary = served.path().join("numbered.so");
    fs::write(served.path().join("plugin.toml"), format!("id = \"{ID}\"\nbinary = \"numbered.so\"\n"))?;
    artifacts.put(0, &binary)?;
    let host = Host::builder().plugins(served.path()).build().wait()?;
    let handle: Handle<dyn Counter> = host.get(ID)?;
    handle.value().context("the plugin did not start")?;

    let mut events = host.events();
    let (stop, failed, calls) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                calls.fetch_add(1, Ordering::Relaxed);
                if handle.value().is_err() {
                    failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let reloaded = (1..=RELOADS).try_for_each(|number| {
            artifacts.put(number, &binary)?;
            host.reload(ID).wait()?;
            Ok::<_, anyhow::Error>(())
        });
        stop.store(true, Ordering::Relaxed);
        reloaded
    })?;
    let mut all = Vec::new();
    let mut totals = Vec::new();
    while let Some(event) = events.try_next() {
        if let EventKind::Reloaded { stages, total_ms, .. } = &event.kind {
            all.push(*stages);
            totals.push(*total_ms);
        }
    }
    host.shutdown().wait();

    let stage = |pick: fn(&Stages) -> f64| all.iter().map(pick).collect::<Vec<f64>>();
    let swap = stage(|stages| stages.swap);
    let row = |name: &str, values: &[f64]| {
        let cell = |share| format!("{:.3}", quantile(values, share));
        vec![name.to_owned(), cell(0.5), cell(0.99)]
    };
    let (p99, failed) = (quantile(&swap, 0.99), failed.into_inner());
    Ok(Section {
        title: "A reload without a build",
        tables: vec![Table {
            columns: vec!["stage", "p50 ms", "p99 ms"],
            rows: vec![
                row("store", &stage(|stages| stages.store)),
                row("preflight", &stage(|stages| stages.preflight)),
                row("load", &stage(|stages| stages.load)),
                row("swap", &swap),
                row("from the command until calls reach the new version", &totals),
            ],
        }],
        targets: vec![
            Target {
                what: "swap of a plugin without state, p99",
                bound: "under 1 ms",
                measured: format!("{p99:.3} ms in {} reloads", swap.len()),
                met: p99 < 1.0,
                ..Target::default()
            },
            Target {
                what: "calls that failed during the reloads",
                bound: "none",
                measured: format!("{failed} of {}", calls.into_inner()),
                met: failed == 0,
                ..Target::default()
            },
        ],
        charts: Vec::new(),
    })
}
