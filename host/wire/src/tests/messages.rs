//! Tests that every message can be decoded after it was encoded, and that invalid messages are rejected.

use super::*;
use replug_api::abi::Encoding;
use replug_model::{id::Generation, step::Step};

fn round_trip<M: Message + PartialEq + std::fmt::Debug>(message: M) {
    let bytes = message.encode().unwrap();
    assert_eq!(M::decode(&bytes).unwrap(), message);
    for len in 0..bytes.len() {
        assert!(M::decode(&bytes[..len]).is_err(), "{len} bytes of {message:?}");
    }
}

pub(super) fn requests() -> Vec<Request> {
    let limits = Limits { memory_bytes: Some(1 << 30), cpu_seconds: Some(5), ..Limits::default() };
    vec![
        Request::Load(Load { path: "/tmp/a.so".into(), shared_std: Some("/lib/std.so".into()), limits }),
        Request::Create(Create {
            id: "dev.example.one".parse().unwrap(),
            generation: Generation(7),
            data_dir: "/tmp/data".into(),
            config: "{\"a\":1}".into(),
            trial: true,
            max_level: Level(4),
        }),
        Request::Start,
        Request::Stop,
        Request::Health,
        Request::Configure { config: "{}".into() },
        Request::Save,
        Request::Restore { from_version: 3, state: State((0..=255).collect()) },
        Request::Destroy,
        Request::Exit,
    ]
}

pub(super) fn commands() -> [Command; 4] {
    let lane = LaneId(300);
    [
        Command::OpenLane(lane),
        Command::OpenMemoryLane { lane, bytes: 65_536 },
        Command::Cancel { lane, call: RequestId(70_000) },
        Command::SetMaxLevel(Level(2)),
    ]
}

pub(super) fn replies() -> Vec<Reply> {
    let text = || "what".to_owned();
    let failures = [
        Failure::Limit { what: text(), value: 4, reason: text() },
        Failure::Load { message: text() },
        Failure::Life { step: Step::Init, code: text(), message: text(), details: text() },
        Failure::OutOfTurn { request: text(), reason: text() },
        Failure::Broken { message: text() },
    ];
    let interfaces = vec![Described { name: text(), description: "{}".into() }];
    let mut replies = vec![
        Reply::Done,
        Reply::Loaded(Loaded {
            panic_unwinds: true,
            api_version: "0.1.0".into(),
            package: text(),
            version: text(),
            stateful: true,
            state_version: 300,
            interfaces,
        }),
        Reply::Health(Health { healthy: false, message: "tired".into() }),
        Reply::Saved(State(vec![0; 1000])),
    ];
    replies.extend(failures.map(Reply::Failed));
    replies
}

pub(super) fn reports() -> [Report; 2] {
    let text = || "what".to_owned();
    [
        Report::Log {
            level: Level(3),
            target: text(),
            message: text(),
            fields: "{}".into(),
            spans: "[]".into(),
        },
        Report::Panic { message: text(), location: text(), thread: text(), backtrace: text() },
    ]
}

#[test]
fn every_message_round_trips_and_a_truncated_message_is_rejected() {
    round_trip(Hello::own());
    requests().into_iter().for_each(round_trip);
    commands().into_iter().for_each(round_trip);
    replies().into_iter().for_each(round_trip);
    reports().into_iter().for_each(round_trip);
}

#[test]
fn a_message_with_trailing_bytes_is_rejected() {
    let mut bytes = Request::Save.encode().unwrap();
    bytes.push(0);
    assert_eq!(
        Request::decode(&bytes).unwrap_err().to_string(),
        "cannot decode a payload as a request: 1 trailing bytes"
    );
}

#[test]
fn a_greeting_of_another_protocol_is_decoded_and_rejected() {
    let mut later = Hello { protocol: 99, api: "9.9.9".into() }.encode().unwrap();
    later.extend(b"what a later version adds");
    let error = Hello::decode(&later).unwrap().check().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "the peer uses version 99 of the protocol (replug-api 9.9.9), and this process uses version {PROTOCOL}; run both from the same build"
        )
    );
    assert!(Hello::own().check().is_ok());
}

#[test]
fn a_request_with_an_invalid_plugin_id_is_rejected() {
    let good = requests().swap_remove(1).encode().unwrap();
    let at = good.windows(3).position(|bytes| bytes == b"dev").unwrap();
    let mut bad = good.clone();
    bad[at..at + 3].copy_from_slice(b"../");
    assert!(Request::decode(&good).is_ok());
    assert!(Request::decode(&bad).is_err());
}

#[test]
fn a_call_arrives_as_it_was_sent() {
    for encoding in [Encoding::Json, Encoding::Binary] {
        let call = Call { interface: 3, method: 70_000, encoding, arguments: b"args" };
        let bytes = [&call.head()[..], call.arguments].concat();
        assert_eq!(bytes[..7], [3, 0, 0x70, 0x11, 1, 0, (encoding == Encoding::Binary).into()]);
        assert_eq!(Call::decode(&bytes).unwrap(), call);
        for len in 0..7 {
            let error = Call::decode(&bytes[..len]).unwrap_err().to_string();
            assert!(error.contains(&format!("{len} bytes are too few")), "{error}");
        }
    }
    assert!(Call::decode(&[9; 7]).unwrap_err().to_string().contains("unknown encoding 9"));
}

pub(super) fn answers() -> [Answer<'static>; 8] {
    [
        Answer::Returned(b"\0\xff"),
        Answer::Refused(b""),
        Answer::BadArguments("which"),
        Answer::BadResult("why"),
        Answer::Panicked { location: "src/lib.rs:1:2", message: "two\nlines" },
        Answer::NoSuchMethod,
        Answer::NotRunning,
        Answer::Broken("how"),
    ]
}

#[test]
fn every_answer_arrives_as_it_was_sent() {
    for answer in answers() {
        let (outcome, body) = answer.encode();
        let bytes = [&[outcome], body.bytes()].concat();
        assert_eq!(Answer::decode(&bytes).unwrap(), answer);
    }
}

#[test]
fn an_invalid_answer_is_rejected() {
    let refusal = |bytes: &[u8]| Answer::decode(bytes).unwrap_err().to_string();
    assert!(refusal(b"").contains("it is empty"));
    assert!(refusal(&[8]).contains("unknown outcome 8"));
    assert!(refusal(&[2, 0xff]).contains("utf-8"));
    assert!(refusal(b"\x04no line break").contains("no location"));
}

#[test]
fn cut_short_cuts_texts_between_characters_and_drops_long_json() {
    let long = "ä".repeat(Report::MAX_TEXT);
    let report = Report::Log {
        level: Level(1),
        target: "t".into(),
        message: format!("x{long}"),
        fields: long.clone(),
        spans: long,
    };
    let Report::Log { target, message, fields, spans, .. } = report.cut_short() else { panic!() };
    assert_eq!((target.as_str(), fields.as_str(), spans.as_str()), ("t", "{}", "[]"));
    assert!(message.ends_with("ä... (262146 bytes cut)"), "{}", &message[message.len() - 60..]);
}
