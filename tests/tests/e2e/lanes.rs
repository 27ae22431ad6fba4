//! The lanes of a plugin in a child process: which kind of lane carries the calls, what happens to a call if the process
//! is killed, and that an idle lane does no work.

use replug::{
    CallError, Handle,
    manifest::{LaneKind, LaneReason, Mode},
};
use replug_api::call::Death;
use replug_tests::{
    Hold, Lab, Neighbour, Probe,
    command::{Dev, program},
    lab, misbehave,
    neighbour::running,
    wait::poll_until,
};
use rustix::{
    process::{Pid, Resource, Rlimit, getpid, getrlimit, prlimit},
    thread::gettid,
};
use serde_json::json;
use std::{fs, path::PathBuf, process::Command, sync::mpsc, thread};

/// The kind of the lane over which the test's plugin was called; `None` if it was not called.
fn lane(lab: &Lab) -> Option<LaneKind> {
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!(info.lane_reason, info.lane.map(|_| LaneReason::Requested));
    info.lane
}

#[test]
fn calls_go_over_the_lane_of_the_manifest() {
    for wanted in [LaneKind::SharedMemory, LaneKind::Socket] {
        lab::over(wanted, || {
            let mut lab = Lab::in_mode("wanted", Mode::Process);
            lab.install(misbehave("version=1"));
            lab.start();
            assert_eq!(lane(&lab), None, "no call was made");
            assert_eq!((lab.probe().version(), lane(&lab)), (Ok(1), Some(wanted)));
        });
    }
}

#[test]
fn a_kill_during_a_call_fails_the_call_with_the_crash() {
    for wanted in [LaneKind::SharedMemory, LaneKind::Socket] {
        lab::over(wanted, || {
            // There is no `call_timeout`, so only the end of the process releases the caller. A call after the kill waits
            // for the restart.
            let tables = "[process]\nrestart_wait = \"10m\"";
            let (mut lab, neighbour) = running("killed-in-a-call", "", tables);
            assert_eq!((lab.probe().version(), lane(&lab)), (Ok(1), Some(wanted)));
            let hold = Hold::new(lab.dir());
            let (probe, action) = (lab.probe(), format!("sleep@{}", hold.path()));
            let caller = thread::spawn(move || probe.misbehave(&action));
            let inside = hold.entered();
            lab.kill();
            let error = caller.join().unwrap().unwrap_err();
            let CallError::Crashed { generation, method, death, .. } = error else { panic!("{error}") };
            assert_eq!((generation, method.as_str()), (1, "misbehave"));
            // A caller that notices the end of the process before the host does gets `Disconnected`.
            assert!(death == Death::Signal("SIGKILL".into()) || death == Death::Disconnected, "{death:?}");
            assert_eq!(lab.crashed().signal.as_deref(), Some("SIGKILL"));
            drop(inside);
            assert_eq!((lab.restarted(), lab.probe().version(), lane(&lab)), (1, Ok(1), Some(wanted)));
            neighbour.assert_unharmed();
        });
    }
}

/// The threads of a process that have this name.
fn threads(process: Pid, name: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(format!("/proc/{process}/task")).unwrap().map(|it| it.unwrap().path());
    all.filter(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|it| it.trim() == name)).collect()
}

/// Waits until the threads sleep. Returns for each the number of its context switches, and how long it has run.
fn asleep(threads: &[PathBuf]) -> Vec<String> {
    let read = |thread: &PathBuf, file: &str| fs::read_to_string(thread.join(file)).unwrap_or_default();
    poll_until(|| threads.iter().all(|thread| read(thread, "status").contains("State:\tS")));
    let work = |thread: &PathBuf| {
        let status = read(thread, "status");
        let switches = status.lines().filter(|line| line.contains("ctxt_switches"));
        switches.map(str::to_owned).chain([read(thread, "schedstat")]).collect()
    };
    threads.iter().map(work).collect()
}

#[test]
fn an_idle_lane_does_no_work() {
    let mut lab = Lab::in_mode("idle", Mode::Process);
    lab.install(misbehave("version=1"));
    Neighbour::install(&lab);
    lab.start();
    let probe = lab.probe();
    for _ in 0..100 {
        assert_eq!(probe.version(), Ok(1));
    }
    assert_eq!(lane(&lab), Some(LaneKind::SharedMemory));
    // One thread of the host waits for the answer to a call. One thread of the plugin's process waits for the next call.
    let hold = Hold::new(lab.dir());
    let (action, (named, name)) = (format!("say@{}", hold.path()), mpsc::channel());
    let caller = thread::spawn(move || {
        named.send(gettid()).unwrap();
        probe.misbehave(&action)
    });
    let inside = hold.entered();
    assert_eq!(lab.probe().version(), Ok(1));
    let mut waiting = threads(lab.pid(), "replug-lane");
    assert_eq!(waiting.len(), 2, "one waits, and one is in the call");
    waiting.push(format!("/proc/{}/task/{}", getpid(), name.recv().unwrap()).into());
    let before = asleep(&waiting);
    assert!(before.iter().all(|work| work.contains("voluntary_ctxt_switches")), "{before:?}");
    // Meanwhile, the lane of another plugin is busy.
    let neighbour: Handle<dyn Probe> = lab.host().get(&Neighbour::id(&lab)).unwrap();
    for number in 1..=1000 {
        assert_eq!(neighbour.increment(1), Ok(number));
    }
    assert_eq!(asleep(&waiting), before);
    drop(inside);
    assert_eq!(caller.join().unwrap(), Ok(1));
}

/// A host in a process of its own that ignores SIGXFSZ, and the pid of the host. With a limit on the size of files, such
/// a host fails to make the memory of a lane, which is a file in memory.
fn embedder(lab: &Lab) -> (Dev, Pid) {
    // With the default action of SIGXFSZ, a file over the limit would kill the host.
    let script = format!("#!/bin/sh\ntrap '' XFSZ\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_embedder"));
    lab.write_script("host", &script);
    let mut host = Dev::embedder(lab, lab.path("host").to_str().unwrap());
    let pid = host.wait_for("here")["pid"].as_i64().unwrap();
    host.wait_for("host_started");
    (host, Pid::from_raw(pid.try_into().unwrap()).unwrap())
}

/// Calls the plugin of a host, and returns its lane.
fn lane_of_a_call(lab: &Lab, host: &mut Dev) -> String {
    let id = lab.id();
    assert_eq!(host.ask(&format!("call {id} version []"))["result"], 1);
    let info = host.ask(&format!("info {id}"))["result"].clone();
    assert_eq!((&info["generation"], &info["restarts"]), (&json!(1), &json!(0)), "{info}");
    let lane = info["lane"].as_str().unwrap_or_default().to_owned();
    assert_eq!(info["lane_reason"], if lane == "socket" { "no-memory" } else { "requested" });
    lane
}

fn installed(name: &str) -> Lab {
    let mut lab = Lab::in_mode(name, Mode::Process);
    lab.install(misbehave("version=1"));
    lab
}

#[test]
fn a_host_that_cannot_make_memory_calls_over_the_socket() {
    let lab = installed("no-memory");
    let (mut host, pid) = embedder(&lab);
    let short = Rlimit { current: Some(1024), ..getrlimit(Resource::Fsize) };
    prlimit(Some(pid), Resource::Fsize, short).unwrap();
    assert_eq!(lane_of_a_call(&lab, &mut host), "socket");
    assert!(host.leave().success());
}

#[test]
fn a_host_with_few_descriptors_calls_over_the_socket() {
    let lab = installed("few-descriptors");
    let (mut host, pid) = embedder(&lab);
    let open: Vec<u64> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|it| it.unwrap().file_name().to_str()?.parse().ok())
        .collect();
    // The memory takes two descriptors, and the connection takes two.
    let free = |below: u64| below - open.iter().filter(|number| **number < below).count() as u64;
    let below = (0..).find(|below| free(*below) == 3).unwrap();
    let few = Rlimit { current: Some(below), ..getrlimit(Resource::Nofile) };
    let before = prlimit(Some(pid), Resource::Nofile, few).unwrap();
    assert_eq!(lane_of_a_call(&lab, &mut host), "socket");
    prlimit(Some(pid), Resource::Nofile, before).unwrap();
    assert!(host.leave().success());
}

#[test]
fn doctor_reports_which_lanes_this_machine_has() {
    let found = |script: &str| {
        let output = Command::new("sh").args(["-c", script, "sh"]).arg(program()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let with = found("exec \"$1\" doctor");
    assert!(with.contains("shared memory, because"), "{with}");
    let without = found("trap '' XFSZ; ulimit -f 1; exec \"$1\" doctor");
    assert!(without.contains("sockets only: cannot create sealed shared memory"), "{without}");
}
