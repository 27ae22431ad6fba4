//! The cost of a reload without its build, while a thread calls the plugin.

use crate::served::Served;
use anyhow::Result;
use replug::{EventKind, event::Stages};
use replug_benches::{Section, Table, Target, quantile};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
};

const RELOADS: u64 = 200;

/// Measures reloads of a plugin without state whose new artifact exists already.
pub(crate) fn measure() -> Result<Section> {
    let mut served = Served::build("")?;
    let handle = served.handle.clone();
    let mut events = served.host.events();
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
        let reloaded = (1..=RELOADS).try_for_each(|number| served.reload(number));
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
    served.host.shutdown().wait();

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
