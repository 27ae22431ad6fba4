//! Tests of the events that readers get, and of the numbers of missed events.

use super::*;
use replug_engine::{EventKind, event::EventSink};

fn recent(events: usize) -> Arc<Recent> {
    let (recent, sink) = (Arc::new(Recent::new()), EventSink::new());
    let mut subscription = sink.subscribe();
    for running in 0..events {
        sink.host(EventKind::HostStarted { plugins_dir: "/p".into(), running });
        recent.push(subscription.try_next().unwrap());
    }
    recent
}

#[tokio::test]
async fn a_reader_resumes_after_the_last_event_it_read() {
    let recent = recent(10);
    let From::After(number) = recent.resume(&recent.id(7)) else { panic!("the id is of this run") };
    let batch = recent.reader(From::After(number), Filter::default()).next().await;
    assert_eq!((batch.away, batch.events.len(), batch.events[0].number), (0, 3, 8));
}

#[tokio::test]
async fn a_reader_away_for_too_long_gets_the_number_of_missed_events() {
    let recent = recent(KEPT_EVENTS + 5);
    let mut reader = recent.reader(From::After(1), Filter::default());
    let batch = reader.next().await;
    assert_eq!((batch.away, batch.too_slow, batch.events[0].number), (4, 0, 6));
    let batch = reader.next().await;
    assert_eq!((batch.away, batch.too_slow), (0, 0), "missed events are reported once");
    let batch = recent.reader(From::Oldest, Filter::default()).next().await;
    assert_eq!((batch.away, batch.too_slow), (0, 0), "a reader from the oldest kept event misses nothing");
}

/// A log entry with a message of this length.
fn log(bytes: usize) -> EventKind {
    let message = "x".repeat(bytes);
    let (level, target) = ("INFO".into(), "t".into());
    EventKind::Log { level, target, message, fields: serde_json::Value::Null, spans: Vec::new() }
}

#[tokio::test]
async fn kept_events_and_read_batches_are_bounded_in_bytes() {
    const LARGE: usize = 256 << 10;
    let (recent, sink) = (Arc::new(Recent::new()), EventSink::new());
    let (id, mut subscription) = ("dev.test.talks".parse().unwrap(), sink.subscribe());
    for _ in 0..100 {
        sink.plugin(&id, log(LARGE));
        recent.push(subscription.try_next().unwrap());
    }
    let bytes = |entries: &[Numbered]| entries.iter().map(|it| it.bytes).sum::<usize>();
    let logs = recent.logs(Some(&id), KEPT_LOGS);
    assert!((LOGS_BYTES - 2 * LARGE..=LOGS_BYTES).contains(&bytes(&logs)), "{} entries", logs.len());
    assert_eq!(logs.last().unwrap().number, 100, "the newest logs are kept");

    let mut reader = recent.reader(From::After(0), Filter::default());
    let mut read = Vec::new();
    while read.last().is_none_or(|last: &Numbered| last.number < 100) {
        let batch = reader.next().await.events;
        assert!(bytes(&batch) < BATCH_BYTES + 2 * LARGE, "{} events", batch.len());
        read.extend(batch);
    }
    assert!((EVENTS_BYTES - 2 * LARGE..=EVENTS_BYTES).contains(&bytes(&read)), "{} events", read.len());

    sink.plugin(&id, log(EVENTS_BYTES));
    recent.push(subscription.try_next().unwrap());
    assert!(recent.logs(Some(&id), KEPT_LOGS).is_empty(), "an entry that is too large is not kept");
}

#[test]
fn resume_with_an_id_of_another_run_begins_with_the_first_event() {
    let recent = recent(3);
    for id in ["", "1-2", "x", &recent.id(u64::MAX)[1..]] {
        assert_eq!(recent.resume(id), From::After(0), "{id}");
    }
    assert_eq!(recent.resume("0"), From::Oldest, "no event has this id");
    assert_eq!(recent.resume(&recent.id(99)), From::After(3), "there is no event 99 yet");
}

/// Records `times` events of a kind.
fn flood(recent: &Recent, kind: &EventKind, times: usize) {
    let sink = EventSink::new();
    let mut subscription = sink.subscribe();
    for _ in 0..times {
        sink.host(kind.clone());
        recent.push(subscription.try_next().unwrap());
    }
}

fn only(kind: EventName) -> Filter {
    Filter { plugin: None, kinds: vec![kind] }
}

#[tokio::test]
async fn a_flood_of_logs_evicts_no_other_events() {
    let recent = recent(3);
    flood(&recent, &log(1), KEPT_EVENTS + 100);
    flood(&recent, &EventKind::HostStopped, 1);
    let mut reader = recent.reader(From::Oldest, Filter::default());
    let mut numbers = Vec::new();
    while numbers.last() != Some(&recent.newest()) {
        numbers.extend(reader.next().await.events.iter().map(|entry| entry.number));
    }
    assert_eq!(numbers.len(), 3 + KEPT_EVENTS + 1);
    assert_eq!(numbers[..4], [1, 2, 3, 104], "the events are in the order of their numbers");
    assert!(numbers.is_sorted());
}

#[tokio::test]
async fn a_reader_counts_only_wanted_events_as_missed() {
    let recent = recent(1);
    let after = From::After(1);
    let mut slow = recent.reader(From::Now, Filter::default());
    flood(&recent, &log(1), KEPT_EVENTS + 100);
    let batch = slow.next().await;
    assert_eq!((batch.too_slow, batch.away), (100, 0));
    assert_eq!(slow.next().await.too_slow, 0, "missed events are reported once");
    let batch = recent.reader(From::After(1), only(EventName::Log)).next().await;
    assert_eq!((batch.too_slow, batch.away), (0, 100), "a new reader was disconnected, not slow");

    let mut reader = recent.reader(after, only(EventName::HostStarted));
    flood(&recent, &EventKind::HostStarted { plugins_dir: "/p".into(), running: 0 }, 1);
    let batch = reader.next().await;
    assert_eq!((batch.too_slow, batch.away, batch.events.len()), (0, 0, 1));
}

#[tokio::test]
async fn resume_with_an_id_of_another_run_counts_evicted_events_as_missed() {
    let recent = recent(KEPT_EVENTS + 5);
    let batch = recent.reader(recent.resume("18c-7"), Filter::default()).next().await;
    assert_eq!((batch.away, batch.events[0].number), (5, 6));
}
