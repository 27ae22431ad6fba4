//! The course of a run: what the process uses after every few reloads, and how long loads take.

use super::quantile;
use anyhow::{Context, Result};
use replug_runtime::registry::give_back;
use replug_tests::resource_usage::ResourceUsage;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path};

/// How many samples a run takes.
const SAMPLES: u64 = 200;

/// How many loads [`Samples::load_around`] takes the median of.
const AROUND: usize = 100;

/// The state of the process after a number of reloads.
#[derive(Clone, Copy, Debug)]
struct Sample {
    reloads: u64,
    usage: ResourceUsage,
    /// The median duration of load and swap since the previous sample, in milliseconds.
    load_ms: f64,
}

/// The samples of a run, in order.
pub(crate) struct Samples {
    every: u64,
    taken: Vec<Sample>,
    /// The durations of load and swap of all reloads, in milliseconds.
    load_ms: Vec<f64>,
    /// How many of these durations the samples include so far.
    used: usize,
}

impl Samples {
    pub(crate) fn of_run(reloads: u64) -> Self {
        Self { every: (reloads / SAMPLES).max(1), taken: Vec::new(), load_ms: Vec::new(), used: 0 }
    }

    /// Notes how long the load and the swap of the next reload took.
    pub(crate) fn note(&mut self, load_ms: f64) {
        self.load_ms.push(load_ms);
    }

    /// Takes a sample if one is due after this reload.
    pub(crate) fn take_if_due(&mut self, reloads: u64) -> Result<()> {
        if reloads.is_multiple_of(self.every) {
            let load_ms = median(&self.load_ms[self.used..]);
            self.used = self.load_ms.len();
            self.taken.push(Sample { reloads, usage: usage()?, load_ms });
        }
        Ok(())
    }

    /// The median duration of load and swap in the reloads around this one, in milliseconds.
    pub(crate) fn load_around(&self, reload: u64) -> f64 {
        let center = usize::try_from(reload).unwrap_or(usize::MAX).min(self.load_ms.len());
        let to = (center + AROUND / 2).min(self.load_ms.len());
        median(&self.load_ms[to.saturating_sub(AROUND)..to])
    }

    /// Writes the samples as `<name>.csv`, and together with `head` as `<name>.json`.
    pub(crate) fn write(&self, folder: &Path, name: &str, mut head: Value) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let mut csv =
            String::from("reloads,private_kib,resident_kib,thread_local_keys,descriptors,load_ms\n");
        for Sample { reloads, usage, load_ms } in &self.taken {
            let ResourceUsage { tls_keys, descriptors, resident_kib, private_kib } = usage;
            writeln!(csv, "{reloads},{private_kib},{resident_kib},{tls_keys},{descriptors},{load_ms:.3}")?;
        }
        let samples = self.taken.iter().map(|Sample { reloads, usage, load_ms }| {
            json!({
                "reloads": reloads,
                "private_kib": usage.private_kib,
                "resident_kib": usage.resident_kib,
                "thread_local_keys": usage.tls_keys,
                "descriptors": usage.descriptors,
                "load_ms": (load_ms * 1e3).round() / 1e3,
            })
        });
        head["samples"] = samples.collect();
        let write = |extension: &str, content: &[u8]| {
            let file = folder.join(format!("{name}.{extension}"));
            fs::write(&file, content).with_context(|| format!("cannot write {}", file.display()))
        };
        write("csv", csv.as_bytes())?;
        write("json", &serde_json::to_vec_pretty(&head)?)
    }
}

/// What the process uses. The host frees the disk space of removed copies within a second, and keeps their files open
/// until then. This function does not wait for that.
pub(crate) fn usage() -> Result<ResourceUsage> {
    give_back();
    ResourceUsage::now()
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}
