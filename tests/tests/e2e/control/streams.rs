//! The streams of events and logs.

use super::{lab, listen, of, unix};
use replug::EventKind;
use replug_tests::{Lab, misbehave};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

fn log(lab: &Lab, message: &str) {
    lab.call("log", json!(["error", message])).unwrap();
}

#[test]
fn an_event_stream_is_live_and_resumes_from_the_last_event_id() {
    let mut lab = lab("streamed");
    let mut stream = unix(&lab).stream("/api/v1/events");
    for version in [2, 3] {
        lab.install(misbehave(&format!("version={version}")));
        lab.reload().unwrap();
    }
    // A task passes the events of the host on to the streams, so the event of the first version may still arrive.
    let (id, event) = loop {
        let found = stream.wait_for("reloaded");
        if found.1["generation"] != 1 {
            break found;
        }
    };
    assert_eq!((&event["generation"], &event["plugin"]), (&2.into(), &json!(lab.id())));
    drop(stream);
    let mut stream = unix(&lab).with("last-event-id", Some(&id)).stream("/events?kind=reloaded");
    assert_eq!(stream.wait_for("reloaded").1["generation"], 3);
    let mut all = unix(&lab).with("last-event-id", Some("0")).stream("/events?kind=reloaded");
    assert_eq!(
        all.next_event().unwrap().1["generation"],
        1,
        "for an unknown id, the stream begins with the oldest event"
    );
    drop(lab);
    assert_eq!(stream.next_event().unwrap().1["event"], "host_stopped");
    assert_eq!(stream.next_event(), None, "the stream ends with its host");
}

#[test]
fn events_are_filtered_by_plugin_and_kind() {
    let mut lab = Lab::new("stream-filtered");
    lab.install(misbehave("version=1"));
    lab.neighbour("other", "id = \"dev.test.other\"\nbinary = \"plugin.so\"", misbehave("version=1"));
    listen(&mut lab);
    let other = unix(&lab).stream("/events?plugin=dev.test.other&kind=log");
    let (status, code, message) = unix(&lab).get("/events?plugin=dev.test.stream-filterd").error();
    assert_eq!((status, code), (404, 40401));
    assert!(message.contains("did you mean `dev.test.stream-filtered`?"), "{message}");
    let mut logs = unix(&lab).stream(&format!("/events?plugin={}&kind=log,audit", lab.id()));
    lab.reload().unwrap();
    log(&lab, "hear, hear");
    let (_, event) = logs.next_event().unwrap();
    assert_eq!((&event["event"], &event["message"]), (&"log".into(), &"hear, hear".into()));
    let (status, _, message) = unix(&lab).get("/events?kind=odd").error();
    assert_eq!(status, 400);
    assert!(message.contains("no event is called `odd`") && message.contains("reloaded"), "{message}");
    drop(lab);
    let mut other = other;
    assert_eq!(other.next_event().unwrap().1["event"], "host_stopped", "the other plugin has no log event");
}

#[test]
fn a_stream_stays_open_without_matching_events() {
    let lab = lab("signs-of-life");
    let mut stream = unix(&lab).stream("/events?kind=host_stopped");
    let heard = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !heard.load(Ordering::Relaxed) {
                // Each request causes an `audit` event, which the filter of this stream excludes.
                unix(&lab).post("/api/v1/plugin/stop", &json!({ "id": "dev.test.none" }));
            }
        });
        stream.wait_for_sign_of_life();
        heard.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_slow_reader_receives_events_lost_and_the_host_does_not_wait() {
    let lab = lab("slow-reader");
    let mut stream = unix(&lab).stream("/events?kind=log");
    // The host logs these events, because the log events of a plugin are limited to a rate.
    let tell = |message: &str| {
        let (level, target, message) = ("ERROR".into(), "test".into(), message.into());
        let log = EventKind::Log { level, target, message, fields: json!({}), spans: Vec::new() };
        lab.host().event_sink().host(log);
    };
    let text = "x".repeat(1000);
    // The ring buffer of the host and the buffers between host and reader together hold fewer events.
    for _ in 0..6000 {
        tell(&text);
    }
    tell("the last");
    let mut lost = 0;
    let last = loop {
        let (_, event) = stream.next_event().unwrap();
        match event["event"].as_str() {
            Some("events_lost") => lost += event["count"].as_u64().unwrap(),
            _ if event["message"] == "the last" => break event,
            _ => {}
        }
    };
    assert!(lost > 0, "{last}");
    // The stream is still open.
    drop(lab);
}

#[test]
fn logs_are_kept_for_a_while_and_can_be_followed() {
    let lab = lab("logged");
    log(&lab, "one");
    log(&lab, "two");
    lab.call("panic", json!(["three"])).unwrap_err();
    // When this event arrives, the host has kept all logs.
    let mut stream = unix(&lab).with("last-event-id", Some("0")).stream("/events?kind=plugin_panicked");
    stream.wait_for("plugin_panicked");
    let messages = |logs: &Value| -> Vec<String> {
        logs["logs"].as_array().unwrap().iter().map(|it| it["message"].as_str().unwrap().to_owned()).collect()
    };
    let logs = unix(&lab).get(&of(&lab, "logs")).data();
    assert_eq!(messages(&logs), ["one", "two", "three"]);
    let logs = unix(&lab).get(&format!("{}&lines=1", of(&lab, "logs"))).data();
    assert_eq!(messages(&logs), ["three"]);

    let mut stream = unix(&lab).stream(&format!("{}&lines=2&follow=true", of(&lab, "logs")));
    log(&lab, "four");
    for message in ["two", "three", "four"] {
        assert_eq!(stream.next_event().unwrap().1["message"], message);
    }

    let path = format!("{}&follow=true", of(&lab, "logs"));
    let (id, _) = unix(&lab).stream(&path).next_event().unwrap();
    let mut stream = unix(&lab).with("last-event-id", Some(&id)).stream(&path);
    assert_eq!(
        stream.next_event().unwrap().1["message"],
        "two",
        "the stream continues after the event with this id"
    );
}

#[test]
fn logs_of_all_plugins_arrive_in_order_and_once() {
    let mut lab = Lab::new("all-logs");
    lab.install(misbehave("version=1"));
    lab.neighbour("other", "id = \"dev.test.other\"\nbinary = \"plugin.so\"", misbehave("version=1"));
    listen(&mut lab);
    let other = lab.host().plugin("dev.test.other").unwrap();
    let mut all = unix(&lab).stream("/api/v1/plugin/logs?follow=true");
    log(&lab, "one");
    other.invoke_json("log", json!(["error", "two"])).wait().unwrap();
    log(&lab, "three");
    let mut again = None;
    for message in ["one", "two", "three"] {
        let (_, event) = all.next_event().unwrap();
        assert_eq!(event["message"], message);
        let again = again.get_or_insert_with(|| unix(&lab).stream("/api/v1/plugin/logs?follow=true"));
        assert_eq!(
            again.next_event().unwrap().1["message"],
            message,
            "a stream begins with earlier logs, and new ones follow"
        );
    }
    let logs = unix(&lab).get("/api/v1/plugin/logs?lines=1").data();
    let told: Vec<_> = logs["logs"].as_array().unwrap().iter().map(|it| &it["message"]).collect();
    assert_eq!(told, ["two", "three"], "the last log of each plugin");
}
