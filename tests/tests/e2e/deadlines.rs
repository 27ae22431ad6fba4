//! Calls that exceed their deadline. The caller gets an error in time, and a plugin that observes the cancellation
//! keeps running.

use replug::{CallError, EventKind, Generation, Handle, manifest::Mode};
use replug_tests::{Hold, Lab, misbehave, stateless, wait::poll_within};
use serde_json::json;
use std::{
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

/// A timeout that no call exceeds, except a call that never ends.
const LONG: Duration = Duration::from_secs(600);

/// Long enough for a call to begin on a busy machine. If a call has not begun by then, it is not cancelled but dropped.
const SHORT: Duration = Duration::from_secs(5);

fn lab(name: &str, mode: Mode, tables: &str) -> Lab {
    let mut lab = Lab::in_mode(name, mode);
    lab.install_with(misbehave("version=1"), tables);
    lab.start();
    lab
}

/// Waits until the plugin logs that its call was cancelled.
fn was_cancelled(lab: &mut Lab) {
    lab.wait_for(|event| match &event.kind {
        EventKind::Log { message, .. } => (message == "was cancelled").then_some(()),
        _ => None,
    });
}

fn assert_unharmed(lab: &Lab) {
    let probe = lab.probe();
    assert_eq!(Handle::within(&probe, LONG).version(), Ok(1));
    assert_eq!(Handle::generation(&probe), Some(Generation(1)));
}

#[test]
fn a_plugin_that_observes_a_cancellation_keeps_running() {
    let tables = "[process]\ncall_timeout = \"5s\"\ncancel_grace = \"10m\"";
    let mut lab = lab("listens", Mode::Process, tables);
    for _ in 0..3 {
        let error = lab.probe().misbehave("until-cancelled").unwrap_err();
        let expected = CallError::Timeout {
            plugin: lab.id(),
            generation: 1,
            method: "misbehave".into(),
            after_ms: 5000,
        };
        assert_eq!(error, expected);
        was_cancelled(&mut lab);
    }
    assert_unharmed(&lab);
}

#[test]
fn a_call_that_times_out_before_it_is_sent_leaves_no_open_connection() {
    let tables = "[process]\ncall_timeout = \"1us\"\ncancel_grace = \"10m\"";
    let lab = lab("unsent", Mode::Process, tables);
    let threads = |lab: &Lab| lab.host().info(&lab.id()).unwrap().process.unwrap().threads;
    // A few calls may be sent in time; their connections are kept.
    let few = threads(&lab) + 8;
    for _ in 0..80 {
        let error = lab.probe().version().unwrap_err();
        assert!(matches!(error, CallError::Timeout { .. }), "{error}");
    }
    // When the process has accepted this call, it has accepted all connections. It has a thread for each connection
    // until it notices that the connection is closed.
    assert_unharmed(&lab);
    poll_within(Duration::from_secs(20), || threads(&lab) <= few);
    assert!(threads(&lab) <= few, "{} threads, but there should be at most {few}", threads(&lab));
}

#[test]
fn a_plugin_that_ignores_a_cancellation_is_killed_after_cancel_grace() {
    let tables = "[process]\ncall_timeout = \"5s\"\ncancel_grace = \"60ms\"";
    let mut lab = lab("does-not-listen", Mode::Process, tables);
    assert!(matches!(lab.probe().misbehave("sleep"), Err(CallError::Timeout { .. })));
    let tail = lab.crashed().stderr_tail;
    let why =
        "replug: killed, because `misbehave` was cancelled after 5s and did not end within another 60ms";
    assert!(tail.contains(why), "{tail}");
    assert_eq!(Handle::within(&lab.probe(), LONG).version(), Ok(1), "the process is started again");
}

#[test]
fn the_deadline_of_a_typed_handle_overrides_the_manifest() {
    let mut lab = lab("typed-deadline", Mode::Process, "[process]\ncall_timeout = \"10m\"");
    let probe = Handle::within(&lab.probe(), SHORT);
    let error = probe.misbehave("until-cancelled").unwrap_err();
    assert!(matches!(&error, CallError::Timeout { after_ms: 5000, .. }), "{error}");
    assert!(
        error.to_string().contains("did not answer within 5000 ms: make the method faster, or allow more"),
        "{error}"
    );
    was_cancelled(&mut lab);
    assert_unharmed(&lab);
}

#[test]
fn a_call_by_name_has_a_deadline_of_its_own() {
    let mut lab = lab("named-deadline", Mode::Process, "");
    let call = lab.handle().invoke_json("misbehave", json!(["until-cancelled"]));
    let error = call.timeout(SHORT).wait().unwrap_err();
    assert!(matches!(&error, CallError::Timeout { after_ms: 5000, .. }), "{error}");
    was_cancelled(&mut lab);
    assert_unharmed(&lab);
}

#[test]
fn an_awaited_call_times_out_in_either_mode() {
    for mode in [Mode::InProcess, Mode::Process] {
        let mut lab = lab("awaited-deadline", mode, "");
        let call = lab.handle().invoke_json("misbehave", json!(["until-cancelled"]));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // This runtime has no timer. The timeout uses a timer of the host.
        let error = runtime.block_on(async { call.timeout(SHORT).await }).unwrap_err();
        let expected = CallError::Timeout {
            plugin: lab.id(),
            generation: 1,
            method: "misbehave".into(),
            after_ms: 5000,
        };
        assert_eq!(error, expected, "{mode:?}");
        was_cancelled(&mut lab);
        assert_unharmed(&lab);
    }
}

#[test]
fn a_call_that_ends_within_its_deadline_is_unaffected() {
    for mode in [Mode::InProcess, Mode::Process] {
        let lab = lab("in-time", mode, "");
        assert_eq!(Handle::within(&lab.probe(), LONG).increment(2), Ok(2));
        let sum = lab.handle().invoke_json("increment", json!([3])).timeout(LONG).wait();
        assert_eq!(sum, Ok(json!(5)));
    }
}

#[test]
fn a_call_does_not_wait_for_a_running_lifecycle_step() {
    let mut lab = Lab::in_mode("during-a-step", Mode::Process);
    let hold = Hold::new(lab.dir());
    let directives = format!("version=1 hold={}", hold.path());
    lab.install_with(misbehave(&directives), "[reload]\ncheckpoint = \"1ms\"");
    lab.start();
    let saving = hold.entered();
    assert_eq!(lab.probe().version(), Ok(1), "the call uses a connection of its own");
    drop((saving, hold));
}

#[test]
fn a_call_waits_for_a_restart_no_longer_than_its_timeout() {
    let tables = "[process]\ncall_timeout = \"50ms\"\nrestart_wait = \"10m\"\nrestart_pause = \"10m\"";
    let mut lab = lab("waits-for-a-restart", Mode::Process, tables);
    lab.kill();
    lab.crashed();
    let typed = lab.probe().version().unwrap_err();
    assert!(matches!(typed, CallError::Restarting { .. }), "{typed}");
    let named = lab.call("version", json!([])).unwrap_err();
    assert!(matches!(named, CallError::Restarting { .. }), "{named}");
}

#[test]
fn the_wait_for_a_restart_counts_towards_the_timeout_of_a_call() {
    let tables = "[process]\ncall_timeout = \"16s\"\nrestart_wait = \"10m\"\nrestart_pause = \"6s\"\ncancel_grace = \"10m\"";
    let mut lab = lab("waits-and-runs", Mode::Process, tables);
    lab.kill();
    lab.crashed();
    let (waiting, late) = (lab.probe(), Handle::within(&lab.probe(), Duration::from_secs(14)));
    let (released, order) = mpsc::channel();
    let first = released.clone();
    let waiting = thread::spawn(move || {
        let outcome = waiting.misbehave("until-cancelled");
        first.send("waited").unwrap();
        outcome
    });
    lab.restarted();
    // The timeout of this call is shorter than the timeout of the waiting call, but longer than the time that the
    // waiting call has left after the restart.
    assert!(matches!(late.misbehave("until-cancelled"), Err(CallError::Timeout { .. })));
    released.send("came later").unwrap();
    let outcome = waiting.join().unwrap();
    assert!(matches!(outcome, Err(CallError::Timeout { after_ms: 16_000, .. })), "{outcome:?}");
    assert_eq!(order.iter().take(2).collect::<Vec<_>>(), ["waited", "came later"]);
}

#[test]
fn a_call_waits_for_a_migration_no_longer_than_its_timeout() {
    let hold_dir = tempfile::tempdir().unwrap();
    let hold = Hold::new(hold_dir.path());
    let mut lab = Lab::in_mode("waits-for-a-hand-over", Mode::Process);
    let tables = "[process]\ncall_timeout = \"50ms\"\n[reload]\npreflight = \"off\"";
    lab.install_with(misbehave(&format!("version=1 hold={}", hold.path())), tables);
    lab.start();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    let saving = hold.entered();
    let error = lab.probe().version().unwrap_err();
    assert!(matches!(error, CallError::NotRunning { .. }), "{error}");
    let words = "its state was still being handed over when the call's deadline of 50ms passed";
    assert!(error.to_string().contains(words), "{error}");
    drop(saving);
    reloading.wait().unwrap();
    assert_eq!(Handle::within(&lab.probe(), LONG).version(), Ok(2));
}

/// Starts a call that never ends, and waits until it has begun.
fn never_ending(lab: &mut Lab) -> JoinHandle<Result<u64, CallError>> {
    let probe = lab.probe();
    let caller = thread::spawn(move || probe.misbehave("sleep"));
    lab.wait_for(|event| match &event.kind {
        EventKind::Log { message, .. } => (message == "about to sleep").then_some(()),
        _ => None,
    });
    caller
}

/// Asserts that the call ended because its process ended, and that the error names the reason.
fn assert_cut_off(caller: JoinHandle<Result<u64, CallError>>) {
    let error = caller.join().unwrap().unwrap_err();
    let CallError::Crashed { generation: 1, stderr_tail, .. } = error else { panic!("{error}") };
    let why =
        "replug: killed, because the plugin was stopped and calls still ran after 50ms (`drain_timeout`)";
    assert_eq!(stderr_tail.lines().last(), Some(why), "{stderr_tail}");
}

const SHORT_DRAIN: &str = "[reload]\ndrain_timeout = \"50ms\"";

#[test]
fn a_call_that_never_ends_does_not_outlive_the_stop_of_its_plugin() {
    let mut lab = lab("stopped", Mode::Process, SHORT_DRAIN);
    let caller = never_ending(&mut lab);
    lab.host().stop(&lab.id()).wait().unwrap();
    lab.assert_childless();
    assert_cut_off(caller);
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(lab.probe().version(), Ok(1));
}

#[test]
fn a_call_that_never_ends_does_not_outlive_the_shutdown_of_the_host() {
    let mut lab = lab("shut-down", Mode::Process, SHORT_DRAIN);
    let caller = never_ending(&mut lab);
    drop(lab);
    assert_cut_off(caller);
}

#[test]
fn a_replaced_version_runs_an_endless_call_until_the_plugin_stops() {
    let mut lab = Lab::in_mode("replaced-and-stopped", Mode::Process);
    lab.install_with(stateless("version=1"), SHORT_DRAIN);
    lab.start();
    let caller = never_ending(&mut lab);
    lab.install(stateless("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.probe().version(), Ok(2));
    assert_eq!(lab.processes().len(), 2, "a swap does not end a running call");
    lab.host().stop(&lab.id()).wait().unwrap();
    assert_cut_off(caller);
    let mut gone = [lab.retired().0, lab.retired().0];
    gone.sort();
    assert_eq!(gone, [Generation(1), Generation(2)]);
}
