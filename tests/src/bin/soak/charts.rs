//! Combines the runs in a folder into one chart, in the form that `benches/plot` draws.

use super::kind::Kind;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{fs, path::Path};

/// What the chart shows of each sample: the field, the label with its unit, and the factor by which the field is
/// multiplied.
const PANELS: [(&str, &str, f64); 4] = [
    ("private_kib", "private memory of the host, MiB", 1.0 / 1024.0),
    ("thread_local_keys", "thread-local keys in use", 1.0),
    ("descriptors", "open descriptors", 1.0),
    ("load_ms", "load and swap, ms (median of each interval)", 1.0),
];

/// Writes `report.json` with the chart of all runs in the folder.
pub(crate) fn write(folder: &Path) -> Result<()> {
    let mut runs = Vec::new();
    for kind in Kind::ALL {
        let file = folder.join(format!("{}.json", kind.file()));
        let Ok(text) = fs::read(&file) else { continue };
        let run: Value =
            serde_json::from_slice(&text).with_context(|| format!("cannot read {}", file.display()))?;
        runs.push((kind, run));
    }
    let panels: Vec<_> = PANELS.iter().map(|panel| drawn(&runs, panel)).collect();
    let most = runs.iter().filter_map(|(_, run)| run["reloads"].as_u64()).max().unwrap_or(0);
    let failed: u64 = runs.iter().filter_map(|(_, run)| run["failed_calls"].as_u64()).sum();
    let kept = runs.iter().filter_map(|(kind, run)| {
        Some(format!("{:.1} KiB {}", run["kept_kib_per_generation"].as_f64()?.max(0.0), kind.short()))
    });
    let kept = kept.collect::<Vec<_>>().join(", ");
    let chart = json!({
        "file": "soak",
        "title": format!("{most} reloads fail {failed} calls; a retired generation keeps {kept}"),
        "subject": "One host reloads different artifacts while two threads call the plugin without pause.",
        "axis": "reloads",
        "plot": { "form": "panels", "panels": panels },
    });
    let report = json!({ "sections": [{ "charts": [chart] }] });
    fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&report)?)
        .context("cannot write the report")
}

fn drawn(runs: &[(Kind, Value)], (field, label, factor): &(&str, &str, f64)) -> Value {
    let lines = runs.iter().map(|(kind, run)| {
        let samples = run["samples"].as_array().into_iter().flatten();
        let points = samples.filter_map(|sample| {
            Some(json!([sample["reloads"].as_f64()?, sample[field].as_f64()? * factor]))
        });
        json!({ "name": kind.name(), "role": "ours", "points": points.collect::<Vec<_>>() })
    });
    json!({ "label": label, "lines": lines.collect::<Vec<_>>() })
}
