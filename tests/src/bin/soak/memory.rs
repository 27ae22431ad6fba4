//! What this process holds of the machine.

use anyhow::{Context, Result};
use replug::load::in_process::tls_keys_used;
use std::fs;

/// What the process holds at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) tls_keys: usize,
    /// Pages in memory, those of mapped files included, which the system may take back.
    pub(crate) resident_kib: u64,
    /// Pages that no file stands behind: written ones, relocated ones, the heap. They go only with the process.
    pub(crate) private_kib: u64,
}

impl Held {
    /// Reads `/proc/self/smaps_rollup`.
    pub(crate) fn now() -> Result<Self> {
        let path = "/proc/self/smaps_rollup";
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|kib| kib.parse().ok());
            kib.with_context(|| format!("{path} has no `{name}`"))
        };
        Ok(Self {
            tls_keys: tls_keys_used(),
            resident_kib: field("Rss:")?,
            private_kib: field("Anonymous:")?,
        })
    }
}
