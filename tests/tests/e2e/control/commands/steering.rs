//! Texts from plugins and files cannot control the terminal.

use super::{Bound, complained, running, said, text};
use replug_tests::{
    Lab,
    command::{command, talk},
    misbehave,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

#[test]
fn control_characters_of_a_plugins_log_are_removed() {
    // A terminal treats this character like ESC and `[`. The library `anstream` removes sequences with ESC if the output
    // is not a terminal, but not this character. So only the filter of the command can remove it.
    const STEERING: char = '\u{9b}';
    let mut lab = Lab::new("steering");
    lab.install_with(misbehave("version=1"), &format!("name = \"a{STEERING}2J\""));
    let mut host = command(&lab, &["run"]);
    host.stdout(Stdio::piped()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut host = Bound(host.spawn().unwrap());
    let mut shown = BufReader::new(host.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(shown.any(|line| line.contains("live")), "the plugin serves");
    let id = lab.id();
    let args = json!(["error", format!("b{STEERING}2J")]).to_string();
    said(&lab, &["call", &id, "log", &args]);
    let line = shown.find(|line| line.contains("ERROR")).unwrap();
    assert!(line.contains("b2J") && !line.contains(STEERING), "{line}");

    let text = format!("c{STEERING}2J");
    let args = json!([text]).to_string();
    for args in [&["call", &id, "echo", &args][..], &["call", &id, "echo", &args, "--json"]] {
        let answer = said(&lab, args);
        assert!(!answer.contains(STEERING), "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert!(answer == text || answer["result"] == text, "nothing is lost: {answer}");
    }
    let err = complained(&lab, &["call", &id, "panic", &args]);
    assert!(err.contains("c2J") && !err.contains(STEERING), "{err}");
    for args in [&["list"][..], &["status"], &["logs"]] {
        let text = said(&lab, args);
        assert!(text.contains("steering") && !text.contains(STEERING), "{args:?}: {text}");
    }
    kill_process(Pid::from_child(&host.0), Signal::INT).unwrap();
    shown.for_each(drop);
    assert!(host.0.wait().unwrap().success());
}

#[test]
fn errors_about_a_file_do_not_control_the_terminal() {
    const KEY: &str = "\"k\\u001b]0;title\\u0007\\u009b2J\" = 1";
    let (lab, dev) = running("wrong-files");
    lab.write("../../replug.toml", KEY);
    lab.write("../\u{9b}2J/plugin.toml", KEY);
    let steers = |text: &str| text.contains(|c: char| c.is_control() && c != '\n');
    let (_, _, err) = text(&talk(&lab, &["call", &lab.id(), "version"]));
    assert!(err.starts_with("warning: ") && err.contains("`k]0;title2J`") && !steers(&err), "{err:?}");
    for args in [&["list", "plugins"][..], &["build", "plugins"]] {
        let (code, _, err) = text(&talk(&lab, args));
        assert_eq!(code, Some(1), "{err:?}");
        assert!(err.contains("error: ") && err.contains("]0;title2J") && !steers(&err), "{args:?}: {err:?}");
    }
    assert!(dev.interrupt().success());
}
