//! The `tracing` events and panics of plugins, as the embedding program receives them.

use replug::{Event, EventKind};
use replug_tests::{Lab, recorder};
use serde_json::json;
use std::{env, process::Command};
use tracing::Level;

#[test]
fn an_event_reaches_the_programs_subscriber_with_fields_and_spans() {
    let mut lab = Lab::running("traced");
    lab.reload().unwrap();
    lab.probe().log("warn", "something odd").unwrap();
    let records = recorder::of(&lab.id());
    let record = records.iter().find(|record| record.message == "something odd").unwrap();
    assert_eq!(record.level, Level::WARN);
    assert_eq!(record.fields["generation"], "2");
    assert_eq!(record.fields["from"], "misbehave");
    assert!(record.fields["fields"].contains("\"number\":7"), "{record:?}");
    assert!(record.fields["spans"].contains("\"outer\"") && record.fields["spans"].contains("\"answer\":42"));
    let (generation, fields, spans) = lab.wait_for(|event| match &event.kind {
        EventKind::Log { message, fields, spans, .. } if message == "something odd" => {
            Some((event.generation, fields.clone(), spans.clone()))
        }
        _ => None,
    });
    assert_eq!(generation.unwrap().0, 2);
    assert_eq!(fields, json!({"number": 7}));
    assert_eq!(spans, [json!({"name": "outer", "fields": {"answer": 42}})]);
}

#[test]
fn an_event_below_the_log_level_of_the_program_is_not_forwarded() {
    let mut lab = Lab::running("filtered");
    assert_eq!(recorder::MAX_LEVEL, Level::DEBUG);
    lab.probe().log("trace", "too much").unwrap();
    lab.probe().log("debug", "just enough").unwrap();
    let messages: Vec<_> = recorder::of(&lab.id()).into_iter().map(|record| record.message).collect();
    assert_eq!(messages, ["just enough"]);
    let logged = |event: &Event| match &event.kind {
        EventKind::Log { message, .. } => Some(message.clone()),
        _ => None,
    };
    assert_eq!(lab.wait_for(logged), "just enough");
}

#[test]
fn a_panic_is_reported_once_with_location_thread_and_backtrace() {
    let wanted = env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let mut lab = Lab::running("panic-reported");
    lab.reload().unwrap();
    assert!(lab.probe().panic("in a call").is_err());
    lab.probe().panic_elsewhere("on its own thread").unwrap();
    let mut panics = Vec::new();
    for event in lab.told_since() {
        if let EventKind::PluginPanicked { message, location, thread, backtrace } = &event.kind {
            assert_eq!(event.generation.unwrap().0, 2);
            assert!(location.starts_with("src/lib.rs:"), "{location}");
            assert_eq!(!backtrace.is_empty(), wanted, "{backtrace}");
            if wanted {
                assert!(backtrace.contains("misbehave::"), "{backtrace}");
                // The frames of the panic itself, of the edge, of the host, and of the start of the thread are removed.
                for cut in
                    ["panic_with_hook", "replug_api::edge", "::_::", "e2e::", "lifecycle::spawn_unchecked"]
                {
                    assert!(!backtrace.contains(cut), "{cut}: {backtrace}");
                }
                assert!(backtrace.ends_with("for a verbose backtrace."), "{backtrace}");
            }
            panics.push((message.clone(), thread.clone()));
        }
    }
    let here = std::thread::current().name().unwrap_or_default().to_owned();
    let expected = [("in a call".to_owned(), here), ("on its own thread".to_owned(), "elsewhere".to_owned())];
    assert_eq!(panics, expected);
    let said: Vec<_> = recorder::of(&lab.id()).into_iter().map(|record| record.message).collect();
    for message in ["in a call", "on its own thread"] {
        let times = said.iter().filter(|said| said.starts_with(&format!("panicked: {message}"))).count();
        assert_eq!(times, 1, "{said:?}");
    }
}

#[test]
fn a_panic_has_a_backtrace_only_if_the_environment_asks_for_one() {
    for value in ["0", "1"] {
        let test = "trace::a_panic_is_reported_once_with_location_thread_and_backtrace";
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", test])
            .env("RUST_BACKTRACE", value)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "RUST_BACKTRACE={value}: {text}");
    }
}
