//! A ring buffer of the newest entries. It also remembers the number, kind and plugin of the last entries that have
//! left it.

use super::{Filter, Numbered};
use replug_engine::{PluginId, event::EventName};
use std::collections::VecDeque;

/// How many of the entries that have left the ring are remembered. Earlier ones are not counted as missed events.
const KNOWN: usize = 1 << 14;

/// A ring buffer of the newest entries.
#[derive(Default)]
pub(super) struct Ring {
    entries: VecDeque<Numbered>,
    bytes: usize,
    gone: VecDeque<Gone>,
}

/// An event that has left a ring.
struct Gone {
    number: u64,
    kind: EventName,
    plugin: Option<PluginId>,
}

impl Ring {
    /// Adds an entry, and drops the oldest entries until the ring is within the limits on number and bytes.
    pub(super) fn push(&mut self, entry: &Numbered, (most, most_bytes): (usize, usize)) {
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

    /// The last `count` entries, the oldest first.
    pub(super) fn last(&self, count: usize) -> impl Iterator<Item = &Numbered> {
        self.entries.range(self.entries.len().saturating_sub(count)..)
    }

    /// The entries after the one with this number.
    pub(super) fn after(&self, number: u64) -> impl Iterator<Item = &Numbered> {
        self.entries.range(self.entries.partition_point(|entry| entry.number <= number)..)
    }

    /// The number of remembered entries that have left the ring, come after the one with this number, and are wanted.
    pub(super) fn gone_after(&self, number: u64, wanted: &Filter) -> u64 {
        let first = self.gone.partition_point(|gone| gone.number <= number);
        let gone = self.gone.range(first..);
        gone.filter(|gone| wanted.wants(gone.kind, gone.plugin.as_ref())).count() as u64
    }

    /// The number of the last entry that has left the ring, or 0.
    pub(super) fn last_gone(&self) -> u64 {
        self.gone.back().map_or(0, |gone| gone.number)
    }
}
