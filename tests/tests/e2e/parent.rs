//! Crashes of the host. The parent process starts the host again, the plugin that caused the crash cannot cause it
//! again, and the other plugins keep their state. Neither the host nor its parent outlives the other.

use super::signals::ignores;
use replug::manifest::Mode;
use replug_tests::{
    Hold, Lab,
    command::{Dev, command, run, talk},
    misbehave, skipped,
    wait::{ProcessEnd, poll_until, poll_within},
};
use rustix::process::{Pid, Signal, getpid, kill_process, kill_process_group};
use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

const CRASH: &str = "[\"write-to-null\"]";

fn embedder(lab: &Lab) -> Dev {
    Dev::embedder(lab, env!("CARGO_BIN_EXE_embedder"))
}

/// Adds a plugin next to the test's own, with these lines in its manifest.
fn neighbour(lab: &Lab, directives: &str, lines: &str) {
    let manifest = format!("id = \"dev.test.neighbour\"\nbinary = \"plugin.so\"\n{lines}\n");
    lab.neighbour("neighbour", manifest, misbehave(directives));
}

fn pid_of(event: &Value) -> Pid {
    Pid::from_raw(event["pid"].as_i64().unwrap().try_into().unwrap()).unwrap()
}

#[test]
fn a_crash_under_dev_names_the_culprit_and_demotes_it() {
    let mut lab = Lab::in_mode("crash-under-dev", Mode::Auto);
    lab.install(misbehave("version=1"));
    let said = lab.dir().join("stderr");
    let id = lab.id();
    let mut dev = command(&lab, &["dev", "--json", "--call", &id, "misbehave", CRASH]);
    dev.stdin(Stdio::null()).stderr(fs::File::create(&said).unwrap());
    let mut dev = Dev::of(dev);
    let demoted = dev.wait_for("plugin_demoted");
    assert_eq!((&demoted["plugin"], &demoted["method"]), (&id.into(), &"misbehave".into()), "{demoted}");
    assert_eq!(demoted["signal"], "SIGSEGV");
    let said = fs::read_to_string(said).unwrap();
    assert!(said.contains("(Probe.misbehave) crashed the program (SIGSEGV): starting it again"), "{said}");
    assert!(dev.interrupt().success());
}

#[test]
fn a_call_while_the_host_is_restarted_waits_for_the_host() {
    let mut lab = Lab::in_mode("call-in-restart", Mode::Auto);
    lab.install(misbehave("version=1"));
    let id = lab.id();
    let mut dev = Dev::start(&lab, &[]);
    dev.wait_for("host_started");
    // A suspended parent process does not start the host again.
    kill_process(dev.pid(), Signal::STOP).unwrap();
    assert!(!talk(&lab, &["call", &id, "misbehave", CRASH]).status.success());
    let mut call = command(&lab, &["call", &id, "version", "--json"]);
    let mut call = call.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut notes = BufReader::new(call.stderr.take().unwrap()).lines();
    assert_eq!(notes.next().unwrap().unwrap(), "the host does not listen yet: waiting for it");
    kill_process(dev.pid(), Signal::CONT).unwrap();
    assert_eq!(dev.wait_for("plugin_demoted")["signal"], "SIGSEGV", "the host has reported the crash");
    let answer = call.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["result"], 1, "{answer}");
    let status = talk(&lab, &["status", "--json"]).stdout;
    let status: Value = serde_json::from_slice(&status).unwrap();
    assert_eq!(status["plugins"][0]["calls"], 1, "the host has answered: {status}");
    assert!(dev.interrupt().success());
}

/// Waits until a called plugin has crashed and serves again. Returns the events of the crash and of the restart.
fn wait_for_crash_and_restart(dev: &mut Dev, crash: &str) -> Vec<Value> {
    let mut told: Vec<Value> = Vec::new();
    // After a crash of the host, the next host reports the crash when it has started. The events come in either order.
    while ![crash, "reloaded"].iter().all(|kind| told.iter().any(|it| it["event"] == *kind)) {
        told.push(dev.wait_for_any(&["reloaded", "plugin_crashed", "plugin_demoted"]));
    }
    told
}

#[test]
fn dev_does_not_repeat_a_call_that_has_crashed_the_same_artifact() {
    for (mode, crash) in [(Mode::Auto, "plugin_demoted"), (Mode::Process, "plugin_crashed")] {
        let mut lab = Lab::in_mode("called-once", mode);
        lab.install(misbehave("version=1"));
        let id = lab.id();
        let mut dev = Dev::start(&lab, &["--call", &id, "misbehave", CRASH]);
        dev.wait_for("reloaded");
        let mut told = wait_for_crash_and_restart(&mut dev, crash);
        assert!(talk(&lab, &["call", &id, "version"]).status.success(), "the plugin serves");
        lab.install(misbehave("version=2"));
        told.push(dev.wait_for("reloaded"));
        told.extend(wait_for_crash_and_restart(&mut dev, crash));
        assert!(talk(&lab, &["call", &id, "version"]).status.success(), "the plugin serves");
        let times = |kind: &str| told.iter().filter(|it| it["event"] == kind).count();
        let crashes = times("plugin_demoted") + times("plugin_crashed");
        assert_eq!(crashes, 2, "one crash for each artifact: {told:?}");
        assert!(dev.interrupt().success());
    }
}

#[test]
fn only_the_culprits_artifact_is_demoted_and_others_keep_their_state() {
    let mut lab = Lab::in_mode("moved-out", Mode::Auto);
    let id = lab.id();
    lab.install(misbehave("version=1"));
    let hold = Hold::new(lab.dir());
    neighbour(&lab, &format!("version=7 hold={}", hold.path()), "[reload]\ncheckpoint = \"1ms\"");
    let mut host = embedder(&lab);
    host.wait_for("host_started");
    assert_eq!(host.ask(&format!("info {id}"))["result"]["runs_in"], "in-process");
    host.send("call dev.test.neighbour increment [5]");
    let increased = thread::scope(|scope| {
        let increased = scope.spawn(|| host.wait_for("answer"));
        while !increased.is_finished() {
            drop(hold.entered());
        }
        increased.join().unwrap()
    });
    assert_eq!(increased["result"], 5);
    // Two more checkpoints have to begin. The first one includes the increment, and is on disk when the second begins.
    drop(hold.entered());
    let next = hold.entered();
    host.send(&format!("call {id} misbehave {CRASH}"));
    host.wait_for("here");
    drop((next, hold));
    host.wait_for("host_started");
    let demoted = host.wait_for("plugin_demoted");
    assert_eq!((&demoted["plugin"], &demoted["method"]), (&id.as_str().into(), &"misbehave".into()));
    let info = host.ask(&format!("info {id}"))["result"].clone();
    assert_eq!((&info["mode"], &info["runs_in"]), (&"auto".into(), &"process".into()), "{info}");
    assert_eq!(info["detail"], "in a child process: it crashed the host in misbehave (SIGSEGV)");
    assert!(info["process_id"].is_u64(), "{info}");
    assert_eq!(
        host.ask("call dev.test.neighbour value []")["result"],
        5,
        "the neighbour has restored its checkpoint"
    );
    assert_eq!(host.ask("info dev.test.neighbour")["result"]["runs_in"], "in-process");
    assert_eq!(host.ask(&format!("call {id} version []"))["result"], 1);
    let error = host.ask(&format!("call {id} misbehave {CRASH}"));
    assert!(error["error"].as_str().is_some_and(|it| it.contains("SIGSEGV")), "{error}");
    assert_eq!(
        host.ask("call dev.test.neighbour value []")["result"],
        5,
        "the crash has not affected the host"
    );
    assert!(host.leave().success());
    lab.assert_clean();

    let mut host = embedder(&lab);
    host.wait_for("host_started");
    assert_eq!(
        host.ask(&format!("info {id}"))["result"]["runs_in"],
        "process",
        "the artifact stays in a child process"
    );
    lab.install(misbehave("version=2"));
    assert!(host.ask(&format!("reload {id}"))["result"].is_u64());
    assert_eq!(
        host.ask(&format!("info {id}"))["result"]["runs_in"],
        "in-process",
        "another artifact starts in process"
    );
    assert!(host.ask(&format!("rollback {id}"))["result"].is_u64());
    assert_eq!(
        host.ask(&format!("info {id}"))["result"]["runs_in"],
        "process",
        "the artifact that has crashed runs in a child process"
    );
    assert!(host.leave().success());
}

#[test]
fn a_culprit_with_a_fixed_mode_is_quarantined_until_a_start() {
    let mut lab = Lab::in_mode("not-moved", Mode::InProcess);
    let id = lab.id();
    lab.install(misbehave("version=1"));
    neighbour(&lab, "version=7", "");
    let mut host = embedder(&lab);
    host.wait_for("host_started");
    host.send(&format!("call {id} misbehave [\"abort\"]"));
    assert_eq!(host.wait_for("host_started")["running"], 1, "only the neighbour runs");
    let quarantined = host.wait_for("plugin_quarantined");
    assert_eq!((&quarantined["method"], &quarantined["signal"]), (&"misbehave".into(), &"SIGABRT".into()));
    assert_eq!(host.ask("call dev.test.neighbour version []")["result"], 7);
    let error = host.ask(&format!("call {id} version []"));
    assert!(error["error"].as_str().is_some_and(|it| it.contains("quarantined")), "{error}");
    let error = host.ask(&format!("reload {id}"));
    let said = error["error"].as_str().unwrap();
    assert!(
        said.contains("it crashed the host in misbehave (SIGABRT)") && said.contains("`start` it"),
        "{said}"
    );
    assert!(host.ask(&format!("start {id}"))["result"].is_u64());
    assert_eq!(host.ask(&format!("call {id} version []"))["result"], 1);
    assert_eq!(host.ask(&format!("info {id}"))["result"]["runs_in"], "in-process");
    assert!(host.leave().success());
}

#[test]
fn an_exit_called_by_a_plugin_is_a_crash() {
    for (action, place) in [
        ("exit-0", "misbehave"),
        ("exit-0-at-once", "misbehave"),
        ("exit-0-on-a-thread", "a thread of its own"),
    ] {
        let mut lab = Lab::in_mode(action, Mode::Auto);
        lab.install(misbehave("version=1"));
        let mut host = embedder(&lab);
        host.wait_for("host_started");
        host.send(&format!("call {} misbehave [\"{action}\"]", lab.id()));
        host.wait_for("host_started");
        let demoted = host.wait_for("plugin_demoted");
        let reason = format!("it crashed the host in {place} (exit)");
        assert_eq!(demoted["reason"], Value::from(reason), "{demoted}");
        assert_eq!(host.ask(&format!("info {}", lab.id()))["result"]["runs_in"], "process");
        assert!(host.leave().success());
    }
}

#[test]
fn an_exit_by_a_plugin_with_a_fixed_mode_does_not_end_dev() {
    let mut lab = Lab::in_mode("exits-inside", Mode::InProcess);
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start(&lab, &["--call", &lab.id(), "misbehave", "[\"exit-0-at-once\"]"]);
    let quarantined = dev.wait_for_any(&["plugin_quarantined", "host_crashed"]);
    assert_eq!(quarantined["method"], "misbehave", "{quarantined}");
    assert!(dev.interrupt().success());
}

#[test]
fn an_exit_of_the_program_with_a_running_host_is_final_and_reported() {
    let mut lab = Lab::in_mode("exits-itself", Mode::Auto);
    lab.install(misbehave("version=1"));
    let mut program = Command::new(env!("CARGO_BIN_EXE_embedder"));
    program.arg(lab.plugins_dir()).arg(lab.state_dir()).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut program = program.stderr(Stdio::piped()).spawn().unwrap();
    program.stdin.as_mut().unwrap().write_all(b"exit 3\n").unwrap();
    let output = program.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ended with status 3 without shutting its host down"), "{said}");
    lab.expect_leftover_files();
}

#[test]
fn an_unrecorded_crash_is_attributed_to_the_only_plugin_in_a_call() {
    let mut lab = Lab::in_mode("cannot-tell", Mode::Auto);
    lab.install_with(misbehave("version=1"), "[process]\nmax_deaths = 1");
    // The crash is not recorded, because a signal handler cannot run on a full stack.
    let action = "[\"overflow-the-stack-of-a-thread\"]";
    let mut dev = Dev::start(&lab, &["--call", &lab.id(), "misbehave", action]);
    let demoted = dev.wait_for_any(&["plugin_demoted", "host_crashed"]);
    assert_eq!(
        (&demoted["plugin"], &demoted["method"], &demoted["signal"]),
        (&lab.id().into(), &"misbehave".into(), &"SIGSEGV".into()),
        "{demoted}"
    );
    assert!(dev.interrupt().success());
}

/// A host with a plugin in a child process and another plugin in the host's process, both with a hanging call.
fn busy(name: &str) -> (Lab, Dev, Pid) {
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install(misbehave("version=1"));
    neighbour(&lab, "version=7", "");
    let hold = Hold::new(lab.dir());
    let mut host = embedder(&lab);
    let pid = pid_of(&host.wait_for("here"));
    host.wait_for("host_started");
    for id in [lab.id(), "dev.test.neighbour".into()] {
        host.send(&format!("call {id} hold [\"{}\"]", hold.path()));
        // This connection stays open, so the call lasts until the process ends.
        std::mem::forget(hold.entered());
    }
    assert!(lab.processes().len() >= 3, "{:?}", lab.children());
    (lab, host, pid)
}

#[test]
fn a_killed_host_ends_its_parent_with_status_137() {
    let (lab, host, pid) = busy("host-killed-under-parent");
    let ends = lab.process_ends();
    kill_process(pid, Signal::KILL).unwrap();
    assert_eq!(host.ended().code(), Some(137));
    ends.iter().for_each(ProcessEnd::wait);
    lab.expect_leftover_files();
}

#[test]
fn a_killed_parent_ends_the_host_and_all_its_processes() {
    let (lab, host, pid) = busy("parent-killed");
    assert_ne!(host.pid(), pid);
    let ends = lab.process_ends();
    host.kill();
    ends.iter().for_each(ProcessEnd::wait);
    lab.expect_leftover_files();
}

#[test]
fn a_host_kill_during_a_call_is_reported_and_demotes_no_plugin() {
    let (lab, host, pid) = busy("killed-at-work");
    kill_process(pid, Signal::KILL).unwrap();
    host.ended();
    let mut host = embedder(&lab);
    let crashed = host.wait_for("host_crashed");
    let in_flight = ["dev.test.neighbour (hold)"].map(Value::from).to_vec();
    assert_eq!(crashed["in_flight"], Value::from(in_flight), "the plugin in a child process is not listed");
    assert_eq!(host.ask("info dev.test.neighbour")["result"]["runs_in"], "in-process");
    assert!(host.leave().success());
}

#[test]
fn a_signal_to_the_parent_is_forwarded_and_the_status_returned() {
    let mut lab = Lab::in_mode("asked-to-end", Mode::Auto);
    lab.install(misbehave("version=1"));
    for signal in [Signal::TERM, Signal::HUP, Signal::INT] {
        if ignores(getpid(), signal) {
            skipped(&format!(
                "{signal:?} is ignored here, as under `nohup`, and therefore in all child processes"
            ));
            continue;
        }
        let mut dev = Dev::start_as(&lab, "run", &[]);
        dev.wait_for("host_started");
        kill_process(dev.pid(), signal).unwrap();
        dev.wait_for("host_stopped");
        assert_eq!(dev.ended().code(), Some(0));
    }
}

#[test]
fn a_crash_in_a_shutdown_is_final_and_the_next_host_demotes_the_plugin() {
    let mut lab = Lab::in_mode("crash-on-the-way-out", Mode::Auto);
    lab.install(misbehave("version=1 do=stop:write-to-null"));
    let mut dev = Dev::start_as(&lab, "run", &[]);
    dev.wait_for("host_started");
    kill_process(dev.pid(), Signal::TERM).unwrap();
    assert_eq!(dev.ended().code(), Some(139));
    lab.assert_childless();
    let mut dev = Dev::start_as(&lab, "run", &[]);
    let demoted = dev.wait_for("plugin_demoted");
    assert_eq!((&demoted["method"], &demoted["signal"]), (&"stop".into(), &"SIGSEGV".into()), "{demoted}");
    assert!(dev.interrupt().success());
}

#[test]
fn a_signal_to_the_whole_group_counts_once() {
    let mut lab = Lab::in_mode("asked-as-a-group", Mode::Auto);
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start_as(&lab, "run", &[]);
    dev.wait_for("host_started");
    // A supervisor that knows both processes sends a signal to both. If the host counted two signals, it would exit
    // immediately, without waiting for its plugins.
    for pid in lab.processes() {
        // An error means that the process has ended already, because of the signal to the other process.
        let _ = kill_process(pid, Signal::TERM);
    }
    dev.wait_for("host_stopped");
    assert_eq!(dev.ended().code(), Some(0));
}

fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

#[test]
fn a_suspended_parent_suspends_the_host_until_both_continue() {
    let mut lab = Lab::in_mode("stopped", Mode::Auto);
    lab.install(misbehave("version=1"));
    let mut host = embedder(&lab);
    let child = pid_of(&host.wait_for("here"));
    host.wait_for("host_started");
    let both = [host.pid(), child];
    kill_process(host.pid(), Signal::TSTP).unwrap();
    both.iter().for_each(|pid| poll_until(|| state(*pid) == 'T'));
    kill_process(host.pid(), Signal::CONT).unwrap();
    both.iter().for_each(|pid| poll_until(|| state(*pid) != 'T'));
    assert_eq!(host.ask(&format!("call {} version []", lab.id()))["result"], 1);
    assert!(host.leave().success());
}

#[test]
fn an_error_of_the_host_is_printed_once() {
    let lab = Lab::new("passed-on");
    let output = run(&lab, &["run", "nowhere"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.matches("no such folder").count(), 1, "{said}");
}

fn checkpoint_of(lab: &Lab) -> PathBuf {
    lab.state_dir().join("checkpoints").join(lab.id())
}

#[test]
fn an_unreadable_checkpoint_is_set_aside_and_the_state_starts_empty() {
    let mut lab = Lab::in_mode("bad-checkpoint", Mode::Auto);
    lab.install_with(misbehave("version=1"), "[reload]\ncheckpoint = \"1h\"");
    fs::create_dir_all(checkpoint_of(&lab).parent().unwrap()).unwrap();
    fs::write(checkpoint_of(&lab), "not what it was").unwrap();
    let mut host = embedder(&lab);
    let lost = host.wait_for("checkpoint_lost");
    let reason = lost["reason"].as_str().unwrap();
    assert!(reason.contains("is not a checkpoint that this version of replug can read"), "{reason}");
    host.wait_for("host_started");
    assert_eq!(host.ask(&format!("call {} value []", lab.id()))["result"], 0);
    assert!(host.leave().success());
    let aside = lab.state_dir().join("checkpoints").join(format!("{}_refused", lab.id()));
    assert_eq!(fs::read_to_string(aside).unwrap(), "not what it was");
}

#[test]
fn a_rejected_checkpoint_is_set_aside_and_the_plugin_starts() {
    let mut lab = Lab::in_mode("refused-checkpoint", Mode::Auto);
    let hold = Hold::new(lab.dir());
    let directives = format!("version=1 hold={}", hold.path());
    lab.install_with(misbehave(&directives), "[reload]\ncheckpoint = \"1ms\"");
    let mut host = embedder(&lab);
    let pid = pid_of(&host.wait_for("here"));
    // When the second checkpoint begins, the first one is on disk.
    drop(hold.entered());
    let second = hold.entered();
    kill_process(pid, Signal::KILL).unwrap();
    host.ended();
    drop((second, hold));
    assert!(checkpoint_of(&lab).exists());
    lab.install(misbehave("version=2 knows_state=9"));
    let mut host = embedder(&lab);
    let lost = host.wait_for("checkpoint_lost");
    assert!(
        lost["reason"].as_str().is_some_and(|it| it.contains("cannot read a state of version 1")),
        "{lost}"
    );
    host.wait_for("host_started");
    assert_eq!(host.ask(&format!("call {} version []", lab.id()))["result"], 2);
    assert!(host.leave().success());
    let aside = lab.state_dir().join("checkpoints").join(format!("{}_refused", lab.id()));
    assert!(aside.exists(), "the rejected checkpoint is kept");
}

#[test]
fn a_killed_dev_command_leaves_no_socket() {
    let mut lab = Lab::new("no-socket");
    lab.install(misbehave("version=1"));
    let mut dev = command(&lab, &["dev", "--json"]);
    dev.process_group(0);
    let mut dev = Dev::of(dev);
    dev.wait_for("host_started");
    // The user's runtime folder is the test's folder.
    let folder = lab.dir().join("replug");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "the host has a socket");
    kill_process_group(dev.pid(), Signal::KILL).unwrap();
    dev.ended();
    lab.expect_leftover_files();
    assert!(poll_within(Duration::from_secs(20), || !folder.exists()), "the socket is left");
}

#[test]
fn a_dev_command_that_exits_leaves_no_socket() {
    let mut lab = Lab::new("no-socket-at-the-end");
    lab.install(misbehave("version=1"));
    let mut dev = Dev::start(&lab, &[]);
    dev.wait_for("host_started");
    assert!(dev.interrupt().success());
    assert!(!lab.dir().join("replug").exists());
}
