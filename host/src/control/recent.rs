//! What has happened lately, for those who were away: a ring of the host's events with numbers, and of each plugin's logs,
//! bounded in number and in bytes.
//!
//! One task writes; readers hold nothing but a number. A reader that is too slow finds that its number has left the
//! ring, and is told how many events it missed. It never makes the writer wait.

use crate::{Event, EventKind, Events, id::PluginId};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::watch;

/// How many events are kept, so that a page that lost its connection for a while misses nothing.
pub(super) const KEPT_EVENTS: usize = 2048;
/// How many log entries are kept of each plugin.
pub(super) const KEPT_LOGS: usize = 500;
/// How many bytes of events are kept, as JSON.
const EVENTS_BYTES: usize = 16 << 20;
/// How many bytes of log entries are kept of each plugin, as JSON.
const LOGS_BYTES: usize = 4 << 20;
/// How many events a reader is given at once.
const BATCH: usize = 128;
/// Once a reader is given as many bytes of events, it is given no more at once.
const BATCH_BYTES: usize = 1 << 20;

/// An event with its number, from 1.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) number: u64,
    pub(super) event: Arc<Event>,
    /// How long it is as JSON.
    bytes: usize,
}

/// What has happened lately.
pub(super) struct Recent {
    /// Which run of the host the numbers belong to.
    run: String,
    rings: Mutex<Rings>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Rings {
    events: Ring,
    logs: BTreeMap<PluginId, Ring>,
}

/// The newest of something.
#[derive(Default)]
struct Ring {
    entries: VecDeque<Numbered>,
    bytes: usize,
}

impl Ring {
    /// Adds one, and drops the oldest until there are no more than so many, of so many bytes.
    fn keep(&mut self, entry: &Numbered, (most, most_bytes): (usize, usize)) {
        self.bytes += entry.bytes;
        self.entries.push_back(entry.clone());
        while self.entries.len() > most || self.bytes > most_bytes {
            let Some(oldest) = self.entries.pop_front() else { return };
            self.bytes -= oldest.bytes;
        }
    }
}

/// What a reader gets.
pub(super) struct Batch {
    /// How many events have left the ring before the reader came for them.
    pub(super) missed: u64,
    pub(super) events: Vec<Numbered>,
}

/// Where someone begins to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum From {
    /// With what comes.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// After the event of a number.
    After(u64),
}

impl Recent {
    pub(super) fn new() -> Self {
        // To tell the numbers of one run from those of another, which begin again.
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Self { run: format!("{started:x}"), rings: Mutex::default(), newest: watch::Sender::new(0) }
    }

    /// Writes down what happens until the host is gone.
    pub(super) async fn follow(self: Arc<Self>, mut events: Events) {
        while let Some(event) = events.next().await {
            self.push(event);
        }
    }

    fn push(&self, event: Arc<Event>) {
        let number = *self.newest.borrow() + 1;
        let numbered = Numbered { number, bytes: bytes_of(&event), event };
        {
            let mut rings = self.rings.lock();
            if let (Some(plugin), true) = (&numbered.event.plugin, is_log(&numbered.event.kind)) {
                rings.logs.entry(plugin.clone()).or_default().keep(&numbered, (KEPT_LOGS, LOGS_BYTES));
            }
            rings.events.keep(&numbered, (KEPT_EVENTS, EVENTS_BYTES));
        }
        self.newest.send_replace(number);
    }

    /// The last log entries of a plugin, the oldest first.
    pub(super) fn logs(&self, plugin: &PluginId, lines: usize) -> Vec<Numbered> {
        let rings = self.rings.lock();
        let Some(logs) = rings.logs.get(plugin) else { return Vec::new() };
        logs.entries.iter().skip(logs.entries.len().saturating_sub(lines)).cloned().collect()
    }

    /// The number of the newest event.
    pub(super) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Which run of the host this is.
    pub(super) fn run(&self) -> &str {
        &self.run
    }

    /// The id of an event in a stream.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.run)
    }

    /// Where to go on after the event of that id. After one of another run of the host, all of this run is new.
    pub(super) fn resume(&self, last_id: &str) -> From {
        let number = last_id.strip_prefix(&self.run).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
        number.map_or(From::Oldest, |number: u64| From::After(number.min(self.newest())))
    }

    /// Begins to read.
    pub(super) fn reader(self: &Arc<Self>, from: From) -> Reader {
        let last = match from {
            From::Now => self.newest(),
            From::Oldest => self.rings.lock().events.entries.front().map_or(0, |oldest| oldest.number - 1),
            From::After(number) => number,
        };
        Reader { recent: self.clone(), last, news: self.newest.subscribe() }
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
    // One that is no JSON is not told to anyone.
    let _ = serde_json::to_writer(&mut count, event);
    count.0
}

/// Whether an event belongs to what a plugin has to say of itself.
pub(super) fn is_log(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Log { .. } | EventKind::PluginPanicked { .. } | EventKind::PluginCrashed { .. })
}

/// Someone who reads at their own pace.
pub(super) struct Reader {
    recent: Arc<Recent>,
    last: u64,
    news: watch::Receiver<u64>,
}

impl Reader {
    /// Waits for events, and takes them.
    pub(super) async fn next(&mut self) -> Batch {
        loop {
            self.news.borrow_and_update();
            if let Some(batch) = self.take() {
                return batch;
            }
            if self.news.changed().await.is_err() {
                // Not before the ring is gone, which this reader holds.
                std::future::pending::<()>().await;
            }
        }
    }

    fn take(&mut self) -> Option<Batch> {
        let rings = self.recent.rings.lock();
        let oldest = rings.events.entries.front()?.number;
        let missed = oldest.saturating_sub(self.last + 1);
        let skip = usize::try_from((self.last + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        let (mut events, mut bytes) = (Vec::new(), 0);
        for unread in rings.events.entries.iter().skip(skip).take(BATCH) {
            events.push(unread.clone());
            bytes += unread.bytes;
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.last = events.last()?.number;
        Some(Batch { missed, events })
    }
}

impl Reader {
    /// The number of the last event that it has read, or will not read.
    pub(super) fn seen(&self) -> u64 {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventSink;

    fn recent(events: usize) -> Arc<Recent> {
        let (recent, sink) = (Arc::new(Recent::new()), EventSink::new());
        let mut told = sink.subscribe();
        for running in 0..events {
            sink.host(EventKind::HostStarted { plugins_dir: "/p".into(), running });
            recent.push(told.try_next().unwrap());
        }
        recent
    }

    #[tokio::test]
    async fn a_reader_that_was_away_goes_on_where_it_was() {
        let recent = recent(10);
        let From::After(number) = recent.resume(&recent.id(7)) else { panic!("it is known") };
        let batch = recent.reader(From::After(number)).next().await;
        assert_eq!((batch.missed, batch.events.len(), batch.events[0].number), (0, 3, 8));
    }

    #[tokio::test]
    async fn a_reader_that_was_away_for_too_long_is_told_how_much_it_missed() {
        let recent = recent(KEPT_EVENTS + 5);
        let mut reader = recent.reader(From::After(1));
        let batch = reader.next().await;
        assert_eq!((batch.missed, batch.events[0].number), (4, 6));
        assert_eq!(reader.next().await.missed, 0);
        assert_eq!(
            recent.reader(From::Oldest).next().await.missed,
            0,
            "who asks for what is kept misses nothing"
        );
    }

    /// A log entry of some length.
    fn log(bytes: usize) -> EventKind {
        let message = "x".repeat(bytes);
        let (level, target) = ("INFO".into(), "t".into());
        EventKind::Log { level, target, message, fields: serde_json::Value::Null, spans: Vec::new() }
    }

    #[tokio::test]
    async fn what_is_kept_and_what_a_reader_is_given_at_once_is_bounded_in_bytes() {
        const LARGE: usize = 256 << 10;
        let (recent, sink) = (Arc::new(Recent::new()), EventSink::new());
        let (id, mut told) = ("dev.test.talks".parse().unwrap(), sink.subscribe());
        for _ in 0..100 {
            sink.plugin(&id, log(LARGE));
            recent.push(told.try_next().unwrap());
        }
        let bytes = |entries: &[Numbered]| entries.iter().map(|it| it.bytes).sum::<usize>();
        let logs = recent.logs(&id, KEPT_LOGS);
        assert!((LOGS_BYTES - 2 * LARGE..=LOGS_BYTES).contains(&bytes(&logs)), "{} entries", logs.len());
        assert_eq!(logs.last().unwrap().number, 100, "the newest are kept");

        let mut reader = recent.reader(From::After(0));
        let mut read = Vec::new();
        while read.last().is_none_or(|last: &Numbered| last.number < 100) {
            let batch = reader.next().await.events;
            assert!(bytes(&batch) < BATCH_BYTES + 2 * LARGE, "{} events", batch.len());
            read.extend(batch);
        }
        assert!((EVENTS_BYTES - 2 * LARGE..=EVENTS_BYTES).contains(&bytes(&read)), "{} events", read.len());

        sink.plugin(&id, log(EVENTS_BYTES));
        recent.push(told.try_next().unwrap());
        assert!(recent.logs(&id, KEPT_LOGS).is_empty(), "what fits nowhere is not kept");
    }

    #[test]
    fn the_id_of_another_run_is_answered_with_all_of_this_one() {
        let recent = recent(3);
        for id in ["", "1-2", "x", &recent.id(u64::MAX)[1..]] {
            assert_eq!(recent.resume(id), From::Oldest, "{id}");
        }
        assert_eq!(recent.resume(&recent.id(99)), From::After(3), "it has not come so far yet");
    }
}
