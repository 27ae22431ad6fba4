//! How commands identify a plugin and a plugins folder, and where their output goes.

use super::{complained, follow, running, said, text};
use replug_tests::{
    Lab,
    command::{Dev, command, run},
    hold::Hold,
    misbehave,
};
use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader};

#[test]
fn every_command_accepts_the_last_part_of_a_plugins_id() {
    let (lab, dev) = running("called-short");
    let (id, short) = (lab.id(), "called-short");
    let called: Value = serde_json::from_str(&said(&lab, &["call", short, "version", "--json"])).unwrap();
    assert_eq!(called, json!({ "plugin": id, "method": "version", "generation": 1, "result": 1 }));
    assert_eq!(said(&lab, &["stop", short]), format!("{id} stopped\n"));
    assert_eq!(said(&lab, &["start", short]), format!("{id} g2 live\n"));
    assert_eq!(said(&lab, &["reload", short]), format!("{id} g3 live\n"));
    said(&lab, &["call", short, "log", "[\"warn\", \"words\"]"]);
    assert!(said(&lab, &["logs", short]).contains("words"));
    for args in [&["reload", "caled-short"][..], &["events", "caled-short"], &["call", "caled-short", "x"]] {
        let err = complained(&lab, args);
        assert_eq!(err, "error: no plugin `caled-short`; did you mean `called-short`?\n");
    }
    assert!(dev.interrupt().success());
    // The last part is also accepted without a running host.
    let (code, out, err) = text(&run(&lab, &["call", short, "version"]));
    assert_eq!((code, out.as_str()), (Some(0), "1\n"), "{err}");
    let mut dev = Dev::start(&lab, &["--call", short, "version"]);
    assert_eq!(dev.wait_for("call_result")["plugin"], id.as_str());
    assert!(dev.interrupt().success());
}

#[test]
fn a_command_finds_the_host_of_the_current_folder_or_names_the_option() {
    let mut lab = Lab::new("served-here");
    lab.install(misbehave("version=1"));
    let here = |args: &[&str]| {
        let mut command = replug_tests::command::command_to_host(&lab, args);
        text(&command.current_dir(lab.plugins_dir()).output().unwrap())
    };
    for (args, how) in [(&["status"][..], "with `DIR`"), (&["reload", "served-here"], "with `--plugins DIR`")]
    {
        let (code, _, err) = here(args);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.starts_with("error: there is no folder `plugins` here") && err.contains(how), "{err}");
    }
    let mut serving = command(&lab, &["run", ".", "--json"]);
    serving.current_dir(lab.plugins_dir());
    let mut dev = Dev::of(serving);
    dev.wait_for("host_started");
    for args in [&["status"][..], &["reload", "served-here"], &["logs"]] {
        let (code, out, err) = here(args);
        assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    }
    assert!(dev.interrupt().success());
}

#[test]
fn a_closed_output_ends_the_commands_events_and_logs() {
    let (lab, dev) = running("read-enough");
    said(&lab, &["call", &lab.id(), "log", "[\"warn\", \"words\"]"]);
    for args in [&["events", "--recent", "--json"][..], &["logs", "-f", "--json"]] {
        let mut following = follow(&lab, args);
        let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
        assert!(lines.next().is_some(), "{args:?}");
        // From here on, the host sends no event, so the command must notice the closed output without one.
        drop(lines);
        assert!(following.wait().unwrap().success(), "{args:?}");
    }
    assert!(dev.interrupt().success());
}

#[test]
fn an_interrupted_host_reports_that_it_waits_for_running_calls() {
    let (mut told, say) = io::pipe().map(|(told, say)| (BufReader::new(told).lines(), say)).unwrap();
    let mut lab = Lab::new("waited-for");
    lab.install(misbehave("version=1"));
    let hold = Hold::new(lab.dir());
    let mut serving = command(&lab, &["run", "--json"]);
    serving.stderr(say);
    let mut dev = Dev::of(serving);
    dev.wait_for("host_started");
    let call = follow(&lab, &["call", "waited-for", "hold", &json!([hold.path()]).to_string()]);
    let inside = hold.entered();
    kill_process(dev.pid(), Signal::INT).unwrap();
    let note = told.next().expect("a note").unwrap();
    assert_eq!(note, "waiting for running calls; press Ctrl-C again to exit immediately");
    drop(inside);
    assert!(dev.ended().success());
    call.wait_with_output().unwrap();
}
