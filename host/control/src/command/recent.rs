//! Keeps recent events for readers that were not connected: the host's events with numbers, in rings with limits on
//! number and bytes.
//!
//! One task writes. Readers hold only numbers. Frequent kinds of events have a ring of their own, and so have the logs
//! of each plugin. So neither audited calls nor a plugin that logs a lot displace other events. A reader that is too
//! slow finds that events have left a ring, and is informed how many of them it would have wanted. It never makes the
//! writer wait.

mod ring;

use super::filter::Filter;
use parking_lot::Mutex;
use replug_engine::{Event, Events, PluginId};
use ring::Ring;
use std::{
    collections::BTreeMap,
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// How many events are kept of the frequent kinds, and of the others, so that a page that was disconnected for a while
/// misses nothing.
pub(crate) const KEPT_EVENTS: usize = 2048;
/// How many log entries are kept of each plugin.
pub(crate) const KEPT_LOGS: usize = 500;
/// The limit of each of the two rings of events in bytes, as JSON.
const EVENTS_BYTES: usize = 8 << 20;
/// How many bytes of log entries are kept of each plugin, as JSON.
const LOGS_BYTES: usize = 4 << 20;
/// How many events a reader gets at once.
const BATCH: usize = 128;
/// A batch ends when it has this many bytes of events.
const BATCH_BYTES: usize = 1 << 20;
/// The kinds of events that a plugin's logs consist of.
pub(crate) const LOGS: [&str; 3] = ["log", "plugin_panicked", "plugin_crashed"];
/// The kinds of events that may be very frequent.
const FLOODS: [&str; 6] =
    ["build_progress", "log", "audit", "call_result", "plugin_panicked", "plugin_stuck"];

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
    /// The id of this run of the host, to which the numbers belong.
    run: String,
    rings: Mutex<Rings>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Rings {
    /// The frequent kinds, and all others.
    events: [Ring; 2],
    logs: BTreeMap<PluginId, Ring>,
    newest: u64,
}

/// The events that a reader gets at once.
pub(crate) struct Batch {
    /// How many events have left the rings before the reader read them.
    pub(crate) too_slow: u64,
    /// How many events had left the rings before the reader began.
    pub(crate) away: u64,
    pub(crate) events: Vec<Numbered>,
}

/// Where a reader begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The reader begins with the next event.
    Now,
    /// The reader begins with the oldest event that is kept.
    Oldest,
    /// The reader begins after the event of that number.
    After(u64),
}

impl Recent {
    pub(crate) fn new() -> Self {
        // Distinguishes the numbers of this run from those of another. Each run counts from the beginning.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self { run: format!("{started:x}"), rings: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Records events until the host has ended.
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
                rings.logs.entry(plugin.clone()).or_default().keep(&numbered, (KEPT_LOGS, LOGS_BYTES));
            }
            let [floods, others] = &mut rings.events;
            let ring = if FLOODS.contains(&kind) { floods } else { others };
            ring.keep(&numbered, (KEPT_EVENTS, EVENTS_BYTES));
            rings.newest = number;
        }
        self.newest.send_replace(number);
    }

    /// The last log entries of a plugin, or of each plugin, the oldest first.
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

    /// The id of an event in a stream.
    pub(crate) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// Where to continue after the event of that id. After an event of another run, all events of this run are new. No
    /// event has the id `0`: a reader that sends it asks for all events that are kept.
    pub(crate) fn resume(&self, last_id: &str) -> From {
        if last_id == "0" {
            return From::Oldest;
        }
        let number = last_id.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        From::After(number.map_or(0, |number: u64| number.min(self.newest())))
    }

    /// A reader of the events that pass the filter.
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

/// A reader, which reads at its own pace.
pub(crate) struct Reader {
    recent: Arc<Recent>,
    filter: Filter,
    last: u64,
    /// How many events had left the rings when the reader began; 0 after the reader was informed.
    away: u64,
    /// For each ring, the number of the last event that has left the ring and is counted.
    gone: [u64; 2],
    news: watch::Receiver<u64>,
}

impl Reader {
    /// Waits for events, and takes them.
    pub(crate) async fn next(&mut self) -> Batch {
        loop {
            self.news.borrow_and_update();
            if let Some(batch) = self.take() {
                return batch;
            }
            if self.news.changed().await.is_err() {
                // The channel cannot be closed, because this reader holds the rings. So this wait is never reached.
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

    /// The number of the last event that the reader has read, or will never read.
    pub(crate) fn seen(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests;
