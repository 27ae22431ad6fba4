//! Tests of the JSON form of events.

use super::*;

#[test]
fn an_event_is_a_flat_json_object_and_round_trips() {
    let sink = EventSink::new();
    let mut events = sink.subscribe();
    let id: PluginId = "dev.replug.calculator".parse().unwrap();
    sink.generation(
        (&id, Generation(2), Digest([1; 32])),
        EventKind::Reloaded {
            stages: Stages { build: 1.5, ..Stages::default() },
            total_ms: 2.25,
            gap_ms: None,
            warnings: Vec::new(),
            way: Some(BuildWay { by: BuiltBy::Cargo, reason: "r".into() }),
        },
    );
    let event = events.try_next().unwrap();
    let json = serde_json::to_value(&*event).unwrap();
    assert_eq!(json["event"], "reloaded");
    assert_eq!(json["plugin"], "dev.replug.calculator");
    assert_eq!(json["generation"], 2);
    assert_eq!(json["stages"]["build"], 1.5);
    assert_eq!(json["way"], serde_json::json!({"by": "cargo", "reason": "r"}));
    let back: Event = serde_json::from_value(json).unwrap();
    assert!(matches!(back.kind, EventKind::Reloaded { .. }));
}
