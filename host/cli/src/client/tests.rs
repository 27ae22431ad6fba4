//! Tests of what a command shows of the answers and events of a host.

use super::*;

#[test]
fn control_characters_of_a_plugins_log_are_removed() {
    let log = json!({
        "at": "", "event": "log", "level": "INFO", "target": "t", "message": "a\u{1b}[2Jb\nc", "fields": {}
    });
    let kind = event(log).unwrap().kind;
    assert!(matches!(kind, replug::EventKind::Log { message, .. } if message == "a[2Jb\nc"));
}

#[test]
fn only_messages_of_the_compiler_keep_their_colours() {
    let red = "\u{1b}[31mred\u{1b}[0m";
    let log = json!({
        "at": "", "event": "log", "level": "INFO", "target": "t", "message": "",
        "fields": { "rendered": red, "warnings": [{ "rendered": red }], "a\u{1b}b": 1 },
    });
    let expected = json!({ "rendered": "[31mred[0m", "warnings": [{ "rendered": "[31mred[0m" }], "ab": 1 });
    let kind = event(log).unwrap().kind;
    assert!(matches!(&kind, replug::EventKind::Log { fields, .. } if *fields == expected), "{kind:?}");
    let diagnostic = json!({ "level": "error", "message": red, "rendered": red });
    let failed = json!({ "at": "", "event": "build_failed", "error": red, "diagnostics": [diagnostic] });
    let replug::EventKind::BuildFailed { error, diagnostics } = event(failed).unwrap().kind else {
        panic!("the event is not a failed build")
    };
    assert_eq!((error.as_str(), diagnostics[0].message.as_str()), ("[31mred[0m", "[31mred[0m"));
    assert_eq!(diagnostics[0].rendered, red);
}

#[test]
fn a_query_omits_null_values_and_escapes_separators() {
    let payload = json!({ "id": "a.b&x=1", "lines": 3, "to": null });
    assert_eq!(with_query("/x", &payload), "/x?id=a.b%26x%3D1&lines=3");
    assert_eq!(with_query("/x", &json!({})), "/x");
}
