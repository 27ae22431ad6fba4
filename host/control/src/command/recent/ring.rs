//! The newest of something, and a word on what has left.

use super::{Filter, Numbered};
use replug_engine::PluginId;
use std::collections::VecDeque;

/// For how many events that have left a ring their kinds are known. A reader that was away for longer learns of
/// so many at most.
const KNOWN: usize = 1 << 14;

/// The newest of something.
#[derive(Default)]
pub(super) struct Ring {
    entries: VecDeque<Numbered>,
    bytes: usize,
    gone: VecDeque<Gone>,
}

/// What has left a ring.
struct Gone {
    number: u64,
    kind: &'static str,
    plugin: Option<PluginId>,
}

impl Ring {
    /// Adds one, and drops the oldest until there are no more than so many, of so many bytes.
    pub(super) fn keep(&mut self, entry: &Numbered, (most, most_bytes): (usize, usize)) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry.clone());
        while self.entries.len() > most || self.bytes > most_bytes {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.bytes;
            if self.gone.len() >= KNOWN {
                self.gone.pop_front();
            }
            let (kind, plugin) = (oldest.event.kind.name(), oldest.event.plugin.clone());
            self.gone.push_back(Gone { number: oldest.number, kind, plugin });
        }
    }

    /// The last ones, the oldest first.
    pub(super) fn last(&self, count: usize) -> impl Iterator<Item = &Numbered> {
        self.entries.range(self.entries.len().saturating_sub(count)..)
    }

    /// Those after a number.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = &Numbered> {
        self.entries.range(self.entries.partition_point(|entry| entry.number <= number)..)
    }

    /// How many have left that came after a number and are wanted, as far as that is known.
    pub(super) fn gone_after(&self, number: u64, wanted: &Filter) -> u64 {
        let first = self.gone.partition_point(|gone| gone.number <= number);
        let gone = self.gone.range(first..);
        gone.filter(|gone| wanted.wants(gone.kind, gone.plugin.as_ref())).count() as u64
    }

    /// The number of the last that has left.
    pub(super) fn last_gone(&self) -> u64 {
        self.gone.back().map_or(0, |gone| gone.number)
    }
}
