//! The commands that connect to a running host, as users type them.

mod naming;
mod steering;
mod strangers;

use replug_tests::{
    Http, Lab,
    command::{Dev, command, run, talk},
    misbehave,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Child, Output, Stdio},
};

/// Starts a command that connects to the lab's host, and does not wait for its end.
fn follow(lab: &Lab, args: &[&str]) -> Child {
    let mut command = replug_tests::command::replug();
    command.args(args).current_dir(lab.dir()).env("XDG_RUNTIME_DIR", lab.dir());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
}

/// A process that is killed at the end of the test, even if the test fails.
struct Bound(Child);

impl Drop for Bound {
    fn drop(&mut self) {
        // An error means that the process has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processes that are suspended until this is dropped.
struct Stopped(Vec<Pid>);

impl Stopped {
    fn new(pids: Vec<Pid>) -> Self {
        let signalled = pids.iter().all(|pid| kill_process(*pid, Signal::STOP).is_ok());
        assert!(signalled && !pids.is_empty(), "{pids:?}");
        Self(pids)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            // An error means that the process has ended.
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The output of a command, which must succeed.
#[track_caller]
fn said(lab: &Lab, args: &[&str]) -> String {
    let (code, out, err) = text(&talk(lab, args));
    assert_eq!(code, Some(0), "{args:?}: {out}{err}");
    out
}

/// The standard error of a command, which must fail with status 1.
#[track_caller]
fn complained(lab: &Lab, args: &[&str]) -> String {
    let (code, out, err) = text(&talk(lab, args));
    assert_eq!(code, Some(1), "{args:?}: {out}{err}");
    err
}

/// A lab with a running `replug run`.
fn running(name: &str) -> (Lab, Dev) {
    let mut lab = Lab::new(name);
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start_as(&lab, "run", &[]);
    let listening = dev.wait_for("control_listening");
    assert!(listening["socket"].as_str().unwrap().starts_with(lab.dir().to_str().unwrap()), "{listening}");
    dev.wait_for("host_started");
    (lab, dev)
}

#[test]
fn commands_query_and_control_a_running_host() {
    let (mut lab, dev) = running("talked-to");
    let id = lab.id();
    let status = said(&lab, &["status"]);
    let row = status.lines().nth(1).unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells[..4], [id.as_str(), "ready", "in-process", "g1"], "{status}");
    assert!(status.lines().all(|line| line.chars().count() <= 80), "{status}");

    lab.install(misbehave("version=2"));
    assert_eq!(said(&lab, &["reload", &id]), format!("{id} g2 live\n"));
    assert_eq!(said(&lab, &["call", &id, "version"]), "2\n");
    assert_eq!(said(&lab, &["rollback", &id]), format!("{id} g3 live\n"));
    let called: Value = serde_json::from_str(&said(&lab, &["call", &id, "version", "--json"])).unwrap();
    assert_eq!(called, json!({ "plugin": id, "method": "version", "generation": 3, "result": 1 }));
    assert_eq!(said(&lab, &["rollback", &id, "--to", "g2"]), format!("{id} g4 live\n"));
    assert_eq!(said(&lab, &["stop", &id]), format!("{id} stopped\n"));
    let listed: Value = serde_json::from_str(&said(&lab, &["list", "--json"])).unwrap();
    assert_eq!(listed["plugins"][0]["status"], "stopped", "`list` shows the running host's plugins");
    assert_eq!(said(&lab, &["start", &id]), format!("{id} g5 live\n"));
    let status: Value = serde_json::from_str(&said(&lab, &["status", "--json"])).unwrap();
    assert_eq!(status["plugins"][0]["generation"], 5);

    for (args, words) in [
        (&["reload", "dev.test.talked-too"][..], "did you mean `dev.test.talked-to`?"),
        (&["rollback", &id, "--to", "g77"], "has no version \"g77\" to go back to"),
        (&["call", &id, "repeat", "[\"x\", 1001]"], "1001 times is too often\n  code  too_often"),
        (&["call", &id, "ecko"], "did you mean `echo`?"),
        (&["events", "dev.test.talked-too"], "did you mean `dev.test.talked-to`?"),
    ] {
        let err = complained(&lab, args);
        assert!(err.contains(words), "{err}");
    }
    assert!(dev.interrupt().success());
}

#[test]
fn commands_report_a_missing_host_and_call_starts_its_own() {
    let mut lab = Lab::new("alone");
    lab.install(misbehave("version=1"));
    let id = lab.id();
    for args in [&["status"][..], &["reload", &id], &["stop", &id], &["logs"], &["events"]] {
        let err = complained(&lab, args);
        assert!(err.starts_with("error: no host runs for plugins (nothing listens on "), "{err}");
        assert!(err.contains(".sock)") && err.contains("dev plugins"), "{err}");
    }
    let (code, out, err) = text(&run(&lab, &["call", &id, "version"]));
    assert_eq!((code, out.as_str()), (Some(0), "1\n"), "{err}");
}

#[test]
fn a_second_host_on_a_folder_fails_while_the_first_runs() {
    let (lab, dev) = running("second");
    let (code, out, err) = text(&run(&lab, &["run"]));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("a host already serves") && err.contains("replug status"), "{err}");
    assert!(said(&lab, &["status"]).contains("ready"), "the first host keeps running");
    dev.kill();
    lab.assert_childless();
    // The next host replaces the socket and the lock of the killed one.
    let mut next = Dev::start_as(&lab, "run", &[]);
    next.wait_for("host_started");
    assert!(said(&lab, &["status"]).contains("ready"));
    assert!(next.interrupt().success());
}

#[test]
fn logs_and_events_of_a_running_host_are_shown_and_followed() {
    let (lab, dev) = running("followed");
    let id = lab.id();
    said(&lab, &["call", &id, "log", "[\"warn\", \"first \\u001b[2Jwords\"]"]);
    let mut follow = follow(&lab, &["events", "--json", "--recent", "--kind", "log"]);
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("a line").unwrap()).unwrap();
    assert_eq!(next()["message"], "first \u{1b}[2Jwords");
    said(&lab, &["call", &id, "log", "[\"error\", \"more words\"]"]);
    assert_eq!(next()["message"], "more words");

    for args in [&["logs"][..], &["logs", &id]] {
        let logs = said(&lab, args);
        assert!(
            logs.contains("WARN  first [2Jwords number=7") && logs.contains("ERROR more words"),
            "{logs}"
        );
        assert!(!logs.contains('\u{1b}'), "{logs}");
    }
    assert!(dev.interrupt().success());
    assert_eq!(next()["event"], "host_stopped");
    assert!(follow.wait().unwrap().success(), "the command ends with the host");
}

#[test]
fn a_stream_of_a_stopping_host_is_sent_completely() {
    let lab = Lab::new("sent-to-the-end");
    let mut dev = Dev::start_as(&lab, "run", &["--http", "0"]);
    // The two events come in either order, because there is no plugin to start.
    let told = [(); 2].map(|()| dev.wait_for_any(&["control_listening", "host_started"]));
    let url = told.iter().find_map(|event| event["http"].as_str()).unwrap();
    let token = fs::read_to_string(lab.state_dir().join("http-token")).unwrap();
    let http = Http::at(url, token.trim());
    let mut streams: Vec<_> = (0..20).map(|_| http.stream("/events")).collect();
    assert!(dev.interrupt().success());
    for stream in &mut streams {
        stream.wait_for("host_stopped");
        assert!(stream.ends_whole(), "the last chunk has arrived");
    }
}

#[test]
fn events_and_logs_report_an_unexpected_exit_of_the_host() {
    let (lab, mut dev) = running("followed-to-death");
    let follows: Vec<_> = [&["events", "--recent", "--json"][..], &["logs", "--follow", &lab.id(), "--json"]]
        .into_iter()
        .map(|args| follow(&lab, args))
        .collect();
    said(&lab, &["call", &lab.id(), "log", "[\"warn\", \"last words\"]"]);
    let mut ends = Vec::new();
    for mut follow in follows {
        let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("last words")), "the command shows the log");
        ends.push((lines, follow));
    }
    let err = complained(&lab, &["call", &lab.id(), "misbehave", "[\"write-to-null\"]"]);
    let ended = format!("error: the host exited during `misbehave` of {}: see `", lab.id());
    assert!(err.starts_with(&ended) && err.contains("events --recent"), "{err}");
    for (mut lines, follow) in ends {
        assert!(!lines.any(|line| line.contains("host_stopped")));
        let (code, _, err) = text(&follow.wait_with_output().unwrap());
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("exited unexpectedly"), "{err}");
    }
    // The parent restarts the host.
    dev.wait_for("host_started");
    assert!(dev.interrupt().success());
}

#[test]
fn a_watched_status_reports_a_stopped_host_and_shows_the_next_one() {
    let (lab, dev) = running("watched");
    said(&lab, &["call", &lab.id(), "version"]);
    let mut watch = Bound(follow(&lab, &["status", "--watch", "--json"]));
    let mut told = BufReader::new(watch.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut shown = BufReader::new(watch.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut shows = |calls: u64| {
        shown.any(|line| {
            let status: Value = serde_json::from_str(&line).unwrap();
            status["plugins"][0]["calls"] == calls && status["plugins"][0]["status"] == "ready"
        })
    };
    assert!(shows(1));
    assert!(dev.interrupt().success());
    let note = told.next().expect("a note");
    assert!(note.starts_with("the host is gone: waiting for it to start again"), "{note}");
    let mut next = Dev::start_as(&lab, "run", &[]);
    next.wait_for("host_started");
    assert!(shows(0), "the next host has served no call");
    kill_process(Pid::from_child(&watch.0), Signal::INT).unwrap();
    assert_eq!(watch.0.wait().unwrap().code(), Some(0));
    assert_eq!(told.next(), None, "the stop is reported once");
    assert!(next.interrupt().success());
}

#[test]
fn the_token_is_printed_only_when_it_is_created() {
    let mut lab = Lab::new("token-printed");
    lab.install(misbehave("version=1"));
    let file = lab.dir().join("kept/token");
    fs::create_dir(file.parent().unwrap()).unwrap();
    let start = |log: &str| {
        let args = ["run", "--json", "--token-file", file.to_str().unwrap(), "--http", "0"];
        let mut command = command(&lab, &args);
        command.stderr(File::create(lab.dir().join(log)).unwrap());
        let mut dev = Dev::of(command);
        let url = dev.wait_for("control_listening")["http"].as_str().unwrap().to_owned();
        dev.wait_for("host_started");
        let token = fs::read_to_string(&file).unwrap().trim().to_owned();
        let answer = Http::at(&url, &token).get("/api/v1/plugin/list");
        assert_eq!(answer.data()["total"], 1, "the host accepts the token in the file");
        assert!(dev.interrupt().success());
        (token, url, fs::read_to_string(lab.dir().join(log)).unwrap())
    };
    let (token, url, said) = start("first");
    assert!(said.contains(&format!("serving {url}/#token={token}\n")), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (next, url, said) = start("second");
    assert_eq!(next, token);
    assert!(said.contains(&format!("serving {url} ")) && !said.contains(&token), "{said}");
}

#[test]
fn commands_reach_the_running_host_despite_an_invalid_configuration() {
    let (lab, dev) = running("locked-out");
    let id = lab.id();
    lab.write("../../replug.toml", "plugin = 'a typo'");
    for args in [
        &["status", "plugins"][..],
        &["logs", "--plugins", "plugins"],
        &["list", "plugins"],
        &["call", &id, "version", "--plugins", "plugins"],
        &["status"],
        &["list"],
        &["call", &id, "version"],
    ] {
        said(&lab, args);
    }
    let (_, _, err) = text(&talk(&lab, &["call", &id, "version"]));
    assert!(err.starts_with("warning: ") && err.contains("replug.toml:1: unknown key"), "{err}");
    // The error is printed once: below the plugins if the host has read the file, and otherwise as a warning.
    let (_, out, err) = text(&talk(&lab, &["status"]));
    assert_eq!(format!("{out}{err}").matches("replug.toml:1: unknown key").count(), 1, "{out}{err}");
    let (_, _, err) = text(&talk(&lab, &["status", "plugins"]));
    assert_eq!(err, "", "a command with a named folder needs no configuration");

    // A command with a named folder finds the running host even if the file names another folder.
    lab.write("../../replug.toml", "plugins = \"elsewhere\"");
    said(&lab, &["status", "plugins"]);
    assert!(complained(&lab, &["status"]).contains("no host runs for elsewhere"));
    // The plugins folder in the file is used even if the rest of the file is invalid.
    lab.write("../../replug.toml", "plugins = \"plugins\"\nplugin = 'a typo'");
    said(&lab, &["stop", &id]);
    assert!(dev.interrupt().success());
    let err = complained(&lab, &["list"]);
    assert!(err.starts_with("error: ") && err.contains("unknown key"), "{err}");
}

#[test]
fn commands_report_a_host_that_does_not_answer() {
    let (lab, dev) = running("silent");
    let id = lab.id();
    let stopped = Stopped::new(lab.processes());
    let asked = [
        &["status"][..],
        &["stop", &id],
        &["events"],
        &["call", &id, "version"],
        &["logs", "-f", &id],
        &["list"],
    ]
    .map(|args| (args[0], follow(&lab, args)));
    for (what, child) in asked {
        let (code, out, err) = text(&child.wait_with_output().unwrap());
        assert_eq!(code, Some(1), "{what}: {out}{err}");
        let is_named =
            stopped.0.iter().any(|pid| err.contains(&format!("(process {})", pid.as_raw_nonzero())));
        assert!(err.contains("does not answer") && is_named, "{what}: {err}");
    }
    drop(stopped);
    assert!(said(&lab, &["status"]).contains("ready"), "the suspended host has executed no command");
    assert!(dev.interrupt().success());
}

#[test]
fn an_unreachable_socket_is_reported_as_a_failed_connection() {
    let mut lab = Lab::new("unreached");
    lab.install(misbehave("version=1"));
    let runtime = lab.dir().join("runtime");
    fs::create_dir(&runtime).unwrap();
    fs::write(runtime.join("replug"), "where a folder should be").unwrap();
    for args in [&["status"][..], &["call", &lab.id(), "version"]] {
        let mut command = replug_tests::command::command_to_host(&lab, args);
        let (code, _, err) = text(&command.env("XDG_RUNTIME_DIR", &runtime).output().unwrap());
        assert_eq!(code, Some(1), "{err}");
        assert!(err.starts_with("error: cannot connect to "), "{err}");
    }
}
