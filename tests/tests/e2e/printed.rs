//! The output of plugins in the host's process. It is logged and does not mix with the output of the command. The last
//! output before a crash still reaches the standard error.

use replug::manifest::Mode;
use replug_tests::{
    Lab,
    command::{Dev, command, run, talk},
    misbehave,
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::PathBuf,
    process::Stdio,
};

/// `replug dev --json`, with its standard error in a file. Each line of its standard output must be JSON.
fn dev(lab: &Lab, args: &[&str]) -> (Dev, PathBuf) {
    let said = lab.dir().join("stderr");
    let mut dev = command(lab, &[&["dev", "--json"], args].concat());
    dev.stdin(Stdio::null()).stderr(File::create(&said).unwrap());
    (Dev::of(dev), said)
}

fn misbehaves(lab: &Lab, id: &str, action: &str) {
    let call = talk(lab, &["call", id, "misbehave", &json!([action]).to_string()]);
    assert!(call.status.success(), "{call:?}");
}

/// The next log event with a line of this stream.
fn logged(dev: &mut Dev, stream: &str) -> Value {
    loop {
        let log = dev.wait_for("log");
        if log["target"] == stream {
            return log;
        }
    }
}

/// Waits until both lines of `say` are logged, in either order. Returns the event for the line on the standard output.
fn said(dev: &mut Dev) -> Value {
    let (mut output, mut error) = (None, None);
    loop {
        let log = dev.wait_for("log");
        match log["target"].as_str() {
            Some("stdout") => output = Some(log),
            Some("stderr") => error = Some(log),
            _ => {}
        }
        if let (Some(output), Some(_)) = (&output, &error) {
            return output.clone();
        }
    }
}

#[test]
fn output_of_an_in_process_plugin_is_logged_with_its_id() {
    let mut lab = Lab::in_mode("prints", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let id = lab.id();
    let (mut dev, said) = dev(&lab, &[]);
    dev.wait_for("host_started");
    misbehaves(&lab, &id, "say");
    let log = logged(&mut dev, "stdout");
    assert_eq!(
        (&log["message"], &log["plugin"], &log["generation"]),
        (&"aloud".into(), &id.as_str().into(), &1.into())
    );
    misbehaves(&lab, &id, "sh:echo by another program >&2");
    while logged(&mut dev, "stderr")["message"] != "by another program" {}
    assert!(dev.interrupt().success());
    let said = fs::read_to_string(said).unwrap();
    assert!(
        said.contains("aside\n") && said.contains("by another program\n") && !said.contains("aloud"),
        "{said}"
    );
}

#[test]
fn output_is_attributed_to_the_called_plugin() {
    let mut lab = Lab::in_mode("prints-of-two", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let neighbour = "dev.test.neighbour";
    let manifest = format!("id = \"{neighbour}\"\nbinary = \"plugin.so\"\nmode = \"in-process\"\n");
    lab.neighbour("neighbour", manifest, misbehave("version=7"));
    let id = lab.id();
    let (mut dev, _) = dev(&lab, &[]);
    dev.wait_for("host_started");
    for id in [neighbour, &id, neighbour] {
        // The host may attribute the output of the first call to another plugin, which was called or started just
        // before. It must attribute the output of the second call to this plugin.
        misbehaves(&lab, id, "say");
        said(&mut dev);
        misbehaves(&lab, id, "say");
        let log = said(&mut dev);
        assert_eq!((&log["message"], &log["plugin"]), (&"aloud".into(), &id.into()), "{log}");
    }
    assert!(dev.interrupt().success());
}

#[test]
fn call_without_a_host_prints_only_the_answer_on_stdout() {
    let mut lab = Lab::in_mode("prints-and-answers", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let call = run(&lab, &["call", &lab.id(), "misbehave", "[\"say\"]", "--json"]);
    let output = String::from_utf8(call.stdout).unwrap();
    let answer: Value = serde_json::from_str(&output).unwrap();
    assert_eq!((&answer["result"], output.lines().count()), (&1.into(), 1));
    let said = String::from_utf8(call.stderr).unwrap();
    assert!(said.contains("aloud\n") && said.contains("aside\n"), "{said}");
}

#[test]
fn the_last_output_before_a_crash_reaches_the_standard_error() {
    for (action, words) in [
        ("abort", "about to abort\n"),
        ("overflow-the-stack", "has overflowed its stack"),
        ("exit-3", "about to exit-3\n"),
    ] {
        let mut lab = Lab::in_mode("last-words", Mode::InProcess);
        lab.install(misbehave("version=1"));
        let (mut dev, said) = dev(&lab, &["--call", &lab.id(), "misbehave", &json!([action]).to_string()]);
        dev.wait_for("plugin_quarantined");
        let said = fs::read_to_string(said).unwrap();
        assert!(said.contains(words), "{action}: {said}");
        assert!(dev.interrupt().success());
    }
}

#[test]
fn a_flood_of_output_in_process_does_not_block_the_host() {
    let mut lab = Lab::in_mode("floods", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let (mut dev, _) = dev(&lab, &[]);
    dev.wait_for("host_started");
    // The plugins write more output than a pipe holds, while nobody reads the command's output.
    for action in ["flood-stdout", "sh:seq 100000", "sh:seq 100000 >&2"] {
        misbehaves(&lab, &lab.id(), action);
    }
    assert_eq!(logged(&mut dev, "stdout")["message"], "line 0");
    assert!(dev.interrupt().success());
}
