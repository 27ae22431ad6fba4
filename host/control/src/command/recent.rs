//! Numbers the events, and keeps recent ones in ring buffers, for readers that were not connected. Each ring buffer has
//! a maximum number of events and of bytes.
//!
//! One task writes. A reader holds only the number of its last event. Frequent kinds of events have a separate ring,
//! and so have the logs of each plugin. So neither audited calls nor a plugin that logs a lot displace rarer events.
//! Each reader has a filter, which selects events. A reader that is too slow is told how many of these events it has
//! missed. It never blocks the writer.

mod ring;

use super::filter::Filter;
use parking_lot::Mutex;
use replug_engine::{Event, Events, PluginId, event::EventName};
use ring::Ring;
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// The maximum number of events in the ring of the frequent kinds, and in the ring of all other kinds. The number is
/// large, so that a page that was disconnected for a while misses nothing.
pub(crate) const KEPT_EVENTS: usize = 2048;
/// The maximum number of log entries that are kept for each plugin.
pub(crate) const KEPT_LOGS: usize = 500;
/// The maximum size of the ring of the frequent kinds, and of the ring of all other kinds, in bytes of JSON.
const EVENTS_BYTES: usize = 8 << 20;
/// The maximum size of the log entries that are kept for each plugin, in bytes of JSON.
const LOGS_BYTES: usize = 4 << 20;
/// The maximum number of events in a batch.
const BATCH: usize = 128;
/// The size at which a batch ends, in bytes of JSON.
const BATCH_BYTES: usize = 1 << 20;
/// The kinds of events that belong to a plugin's logs.
pub(crate) const LOGS: [EventName; 3] = [EventName::Log, EventName::PluginPanicked, EventName::PluginCrashed];
/// The kinds of events that may be very frequent.
const FLOODS: [EventName; 6] = [
    EventName::BuildProgress,
    EventName::Log,
    EventName::Audit,
    EventName::CallResult,
    EventName::PluginPanicked,
    EventName::PluginStuck,
];

/// An event with its number, from 1.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) event: Arc<Event>,
    /// The length of the event as JSON.
    bytes: usize,
}

/// The recent events.
pub(crate) struct Recent {
    /// The id of this run of the host. Each run numbers its events from 1.
    run: String,
    rings: Mutex<Rings>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Rings {
    /// The ring of the frequent kinds, and the ring of all other kinds.
    events: [Ring; 2],
    logs: BTreeMap<PluginId, Ring>,
    newest: u64,
}

/// The next events of a reader.
pub(crate) struct Batch {
    /// The number of selected events that have left the rings since the last batch, before the reader read them.
    pub(crate) too_slow: u64,
    /// The number of selected events that left the rings while the client was disconnected. 0 in later batches.
    pub(crate) away: u64,
    pub(crate) events: Vec<Numbered>,
}

/// The event with which a reader begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The reader begins with the next event.
    Now,
    /// The reader begins with the oldest event that is kept.
    Oldest,
    /// The reader begins after the event with this number.
    After(u64),
}

impl Recent {
    pub(crate) fn new() -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self { run: format!("{started:x}"), rings: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Records events until the host has shut down.
    pub(crate) async fn follow(self: Arc<Self>, mut events: Events) {
        while let Some(event) = events.next().await {
            self.push(event);
        }
    }

    fn push(&self, event: Arc<Event>) {
        let number = *self.newest.borrow() + 1;
        let numbered = Numbered { number, bytes: bytes_of(&event), event };
        let kind = numbered.event.kind.name();
        {
            let mut rings = self.rings.lock();
            if let (Some(plugin), true) = (&numbered.event.plugin, LOGS.contains(&kind)) {
                rings.logs.entry(plugin.clone()).or_default().push(&numbered, (KEPT_LOGS, LOGS_BYTES));
            }
            let [floods, others] = &mut rings.events;
            let ring = if FLOODS.contains(&kind) { floods } else { others };
            ring.push(&numbered, (KEPT_EVENTS, EVENTS_BYTES));
            rings.newest = number;
        }
        self.newest.send_replace(number);
    }

    /// The last log entries of a plugin, or of every plugin, the oldest first. `lines` is the maximum for each plugin.
    pub(crate) fn logs(&self, plugin: Option<&PluginId>, lines: usize) -> Vec<Numbered> {
        let rings = self.rings.lock();
        let of_those = rings.logs.iter().filter(|(of, _)| plugin.is_none_or(|plugin| plugin == *of));
        let mut entries: Vec<_> = of_those.flat_map(|(_, ring)| ring.last(lines)).cloned().collect();
        entries.sort_by_key(|entry| entry.number);
        entries
    }

    /// The number of the newest event.
    pub(crate) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// The id of this run of the host.
    pub(crate) fn run(&self) -> &str {
        &self.run
    }

    /// The id that the event with this number has in streams.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// Where a reader continues after the event with the id `last_id`. After an event of a different run, it continues
    /// with the first event of this run. The id `0`, which no event has, selects the oldest kept event.
    pub(crate) fn resume(&self, last_id: &str) -> From {
        if last_id == "0" {
            return From::Oldest;
        }
        let number = last_id.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        From::After(number.map_or(0, |number: u64| number.min(self.newest())))
    }

    /// A new reader of the events that the filter selects.
    pub(crate) fn reader(self: &Arc<Self>, from: From, filter: Filter) -> Reader {
        let rings = self.rings.lock();
        let last = match from {
            From::Now => rings.newest,
            From::Oldest => 0,
            From::After(number) => number,
        };
        let away = match from {
            From::Oldest => 0,
            _ => rings.events.iter().map(|ring| ring.gone_after(last, &filter)).sum(),
        };
        let gone = rings.events.each_ref().map(Ring::last_gone);
        drop(rings);
        Reader { recent: self.clone(), filter, last, away, gone, news: self.newest.subscribe() }
    }
}

fn bytes_of(event: &Event) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // An event that cannot be written as JSON is not sent to any reader.
    let _ = serde_json::to_writer(&mut count, event);
    count.0
}

/// A reader of events.
pub(crate) struct Reader {
    recent: Arc<Recent>,
    filter: Filter,
    last: u64,
    /// The number of selected events that left the rings while the client was disconnected. 0 after a batch has
    /// reported it.
    away: u64,
    /// Up to which event the missed events of each ring have been counted: the number of the newest event that had left
    /// the ring at that time.
    gone: [u64; 2],
    news: watch::Receiver<u64>,
}

impl Reader {
    /// Waits for events, and returns the next batch.
    pub(crate) async fn next(&mut self) -> Batch {
        loop {
            self.news.borrow_and_update();
            if let Some(batch) = self.take() {
                return batch;
            }
            if self.news.changed().await.is_err() {
                // This is never reached: the channel cannot be closed, because this reader holds its sender.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Option<Batch> {
        let rings = self.recent.rings.lock();
        let mut too_slow = 0;
        for (ring, counted) in rings.events.iter().zip(&mut self.gone) {
            too_slow += ring.gone_after(self.last.max(*counted), &self.filter);
            *counted = ring.last_gone();
        }
        let [floods, others] = &rings.events;
        let mut unread = [floods.after(self.last).peekable(), others.after(self.last).peekable()];
        let (mut events, mut bytes) = (Vec::new(), 0);
        self.last = loop {
            let [flood, other] = &mut unread;
            let next = match (flood.peek(), other.peek()) {
                (Some(one), Some(another)) if one.number > another.number => other.next(),
                (Some(_), _) => flood.next(),
                (None, _) => other.next(),
            };
            let Some(next) = next else { break rings.newest };
            if self.filter.wants(next.event.kind.name(), next.event.plugin.as_ref()) {
                events.push(next.clone());
                bytes += next.bytes;
            }
            if events.len() >= BATCH || bytes >= BATCH_BYTES {
                break next.number;
            }
        };
        let away = std::mem::take(&mut self.away);
        (too_slow + away > 0 || !events.is_empty()).then_some(Batch { too_slow, away, events })
    }

    /// The number of the last event that the reader has read or skipped.
    pub(crate) fn seen(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests;
