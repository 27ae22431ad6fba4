//! The audit of commands that change a plugin, even if the client disconnects or the host stops.

use super::{lab, unix};
use replug_tests::hold::Hold;
use serde_json::json;

#[test]
fn a_call_is_audited_after_its_client_disconnects() {
    let lab = lab("hung-up");
    let hold = Hold::new(lab.dir());
    let mut stream = unix(&lab).stream("/events?kind=audit");
    let body = json!({ "id": lab.id(), "method": "hold", "args": [hold.path()] }).to_string();
    let head = unix(&lab).head("POST", "/api/v1/plugin/execute");
    let mut conversation = unix(&lab).connect();
    let headers = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    conversation.write(format!("{head}{headers}{body}").as_bytes()).unwrap();
    let inside = hold.entered();
    drop(conversation);
    let (_, told) = stream.wait_for("audit");
    assert_eq!((&told["command"], &told["plugin"]), (&json!("execute hold"), &json!(lab.id())), "{told}");
    assert!(told["outcome"].as_str().unwrap().contains("closed the connection"), "{told}");
    drop(inside);
}

#[test]
fn the_last_calls_before_a_shutdown_are_audited() {
    const CALLS: u64 = 20;
    let lab = lab("last-calls");
    let mut stream = unix(&lab).stream("/events?kind=audit");
    let body = json!({ "id": lab.id(), "method": "version" });
    for _ in 0..CALLS {
        unix(&lab).post("/api/v1/plugin/execute", &body).data();
    }
    drop(lab);
    let told: Vec<_> = std::iter::from_fn(|| stream.next_event()).map(|(_, event)| event).collect();
    let counted: u64 = told.iter().filter_map(|event| event["count"].as_u64()).sum();
    assert_eq!(counted, CALLS, "{told:?}");
}
