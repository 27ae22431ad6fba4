//! How the versions of a plugin replace each other, and which version serves if one of them fails or panics in a lifecycle
//! step: at the start, at a reload, or at the end.

use replug::{
    CallError, Generation, Handle, HostError, Status,
    event::{EventKind, RetireOutcome},
};
use replug_interfaces::Counter;
use replug_tests::{Hold, Lab, misbehave, source::PROFILE, stateless, workspace};
use serde_json::json;
use std::{fs, iter, path::Path, sync::mpsc, thread, time::Duration};

/// A host that runs version 1 with a state of 5.
fn running(name: &str, directives: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.install_with(misbehave(&format!("version=1 {directives}")), "[reload]\ndrain_timeout = \"100ms\"");
    lab.start();
    assert_eq!(lab.probe().increment(5).unwrap(), 5);
    lab
}

/// Asserts that the first generation still serves, with its state.
fn assert_unharmed(lab: &Lab) {
    let probe = lab.probe();
    assert_eq!((probe.version().unwrap(), Handle::generation(&probe).map(|it| it.0)), (1, Some(1)));
    assert_eq!(probe.value().unwrap(), 5);
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!(info.status, Status::Ready);
}

#[test]
fn a_new_version_that_fails_to_start_leaves_the_previous_one_serving() {
    let mut lab = running("fails-on-its-way-up", "");
    for entry in ["init", "start", "restore"] {
        let error = lab.refused(misbehave(&format!("version=2 fail={entry}")));
        let expected = format!(
            "`{entry}` of {} failed: {entry} was told to fail [told_to_fail] ({{\"version\":2}})",
            lab.id()
        );
        assert!(error.contains(&expected), "{error}");
        assert!(lab.host().info(&lab.id()).unwrap().detail.contains(&expected));
        assert_unharmed(&lab);
    }
    lab.install(misbehave("version=3"));
    lab.reload().unwrap();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (3, 5));
}

#[test]
fn a_new_version_that_panics_at_start_leaves_the_previous_one_serving() {
    let mut lab = running("panics-on-its-way-up", "");
    for entry in ["init", "start", "restore", "health"] {
        let error = lab.refused(misbehave(&format!("version=2 panic={entry}")));
        let expected = format!("`{entry}` of {} panicked: {entry} was told to panic (src/lib.rs:", lab.id());
        assert!(error.contains(&expected), "{error}");
        assert_unharmed(&lab);
    }
}

#[test]
fn an_unhealthy_new_version_leaves_the_previous_one_serving() {
    let mut lab = running("unhealthy", "");
    let error = lab.refused(misbehave("version=2 unhealthy=headache"));
    assert!(error.contains("the health check of the new version failed: headache"), "{error}");
    assert_unharmed(&lab);
}

#[test]
fn a_version_that_fails_to_save_keeps_serving_with_its_state() {
    for (name, directives, expected) in [
        ("save-fails", "fail=save", "failed: save was told to fail [told_to_fail]"),
        ("save-panics", "panic=save", "panicked: save was told to panic (src/lib.rs:"),
    ] {
        let mut lab = running(name, directives);
        let error = lab.refused(misbehave("version=2"));
        assert!(error.contains(&format!("migrate failed: `save` of {} {expected}", lab.id())), "{error}");
        assert_unharmed(&lab);
    }
}

#[test]
fn an_unknown_state_version_leaves_the_previous_version_serving() {
    let mut lab = running("unknown-state", "");
    let error = lab.refused(misbehave("version=2 knows_state=7"));
    assert!(error.contains("cannot read a state of version 1 [unknown_state_version]"), "{error}");
    assert_unharmed(&lab);
}

#[test]
fn a_state_survives_a_reload_and_a_rollback() {
    let mut lab = running("handed-over", "");
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.probe().increment(1).unwrap(), 6);
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 6));
    assert_eq!(Handle::generation(&lab.probe()), Some(Generation(3)));
}

#[test]
fn the_state_of_counter_migrates_to_its_second_version() {
    let mut lab = Lab::new("migrates");
    let (root, second) = (workspace(), workspace().join("tests/fixtures/counter-v2"));
    let text = |path: &Path| fs::read_to_string(path).unwrap();
    let local = format!("\"{}/", root.display());
    lab.compile_dependencies();
    let cargo_toml = text(&second.join("Cargo.toml")).replace("\"../../../", &local);
    lab.write("Cargo.toml", format!("{cargo_toml}\n{PROFILE}"));
    lab.write("Cargo.lock", text(&second.join("Cargo.lock")));
    lab.write("src/lib.rs", text(&root.join("plugins/counter/src/lib.rs")));
    lab.set_manifest("");
    lab.start_watching();
    let counter: Handle<dyn Counter> = lab.host().get(&lab.id()).unwrap();
    assert_eq!(counter.increment(41).unwrap(), 41);
    lab.told_since();
    lab.write("src/lib.rs", text(&second.join("src/lib.rs")));
    lab.reloaded();
    assert_eq!((Handle::generation(&counter), counter.increment(1).unwrap()), (Some(Generation(2)), 42));
    let error = lab.host().rollback(&lab.id(), None).wait().unwrap_err().to_string();
    assert!(
        error.contains("unknown_state_version"),
        "the first version cannot read the state of the second: {error}"
    );
    assert_eq!(counter.value().unwrap(), 42);
}

#[test]
fn a_plugin_that_fails_at_its_first_start_is_in_error_until_repaired() {
    let mut lab = Lab::new("first-start");
    lab.install(misbehave("version=1 panic=init"));
    lab.start();
    let (_, error) = lab.reload_failed();
    assert!(error.contains("init was told to panic"), "{error}");
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!(info.status, Status::Error);
    assert!(info.detail.contains("init was told to panic"), "{}", info.detail);
    let call = lab.call("version", json!(null)).unwrap_err().to_string();
    assert!(call.contains("is not running") && call.contains("init was told to panic"), "{call}");
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.call("version", json!(null)).unwrap(), json!(2));
}

#[test]
fn a_failure_in_stop_or_drop_does_not_affect_the_next_version() {
    for (name, directives, outcome) in [
        ("stop-panics", "panic=stop", RetireOutcome::Kept),
        ("stop-fails", "fail=stop", RetireOutcome::Kept),
        ("drop-panics", "panic=drop", RetireOutcome::DropPanicked),
    ] {
        let mut lab = running(name, directives);
        lab.install(misbehave("version=2"));
        lab.reload().unwrap();
        assert_eq!(lab.retired(), (Generation(1), outcome), "{name}");
        assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 5));
    }
}

#[test]
fn a_host_shuts_down_when_a_plugin_panics_in_stop_and_drop() {
    drop(running("shutdown-panics", "panic=stop panic=drop"));
}

#[test]
fn a_reload_fails_if_a_call_outlasts_the_drain_timeout() {
    let mut lab = running("outlasts-the-drain", "");
    let hold = Hold::new(lab.dir());
    let (probe, socket) = (lab.probe(), hold.path().to_owned());
    let caller = thread::spawn(move || probe.hold(&socket));
    let inside = hold.entered();
    let error = lab.refused(misbehave("version=2"));
    assert!(
        error.contains("calls still run after 100ms (1): raise `drain_timeout` under [reload]"),
        "{error}"
    );
    let probe = lab.probe();
    assert_eq!((probe.version().unwrap(), probe.increment(1).unwrap()), (1, 6));
    assert_eq!(lab.host().info(&lab.id()).unwrap().in_flight, 1);
    drop(inside);
    assert_eq!(caller.join().unwrap().unwrap(), 1);
    lab.reload().unwrap();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 6));
}

#[test]
fn a_running_call_finishes_on_the_generation_on_which_it_began() {
    let mut lab = Lab::new("finishes-where-it-began");
    lab.install(stateless("version=1"));
    lab.start();
    let hold = Hold::new(lab.dir());
    let (probe, socket) = (lab.probe(), hold.path().to_owned());
    let caller = thread::spawn(move || probe.hold(&socket));
    let inside = hold.entered();
    lab.install(stateless("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.probe().version().unwrap(), 2);
    drop(inside);
    assert_eq!(caller.join().unwrap().unwrap(), 1);
    assert_eq!(lab.retired(), (Generation(1), RetireOutcome::Kept));
}

#[test]
fn a_thread_that_outlives_its_version_does_not_affect_the_next_version() {
    let mut lab = running("thread-left-behind", "thread=forever");
    lab.install(misbehave("version=2 thread=forever"));
    lab.reload().unwrap();
    assert_eq!(lab.retired(), (Generation(1), RetireOutcome::Kept));
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 5));
}

#[test]
fn a_version_that_fails_in_its_confirm_window_is_rolled_back() {
    let mut lab = Lab::new("confirm");
    let confirm = "[reload]\nconfirm = { window = \"10m\", max_error_rate = 0.2, min_calls = 5 }";
    lab.install_with(misbehave("version=1"), confirm);
    lab.start();
    lab.probe().increment(5).unwrap();
    lab.install(misbehave("version=2 panic=work"));
    lab.reload().unwrap();
    let probe = lab.probe();
    assert_eq!(probe.version().unwrap(), 2);
    for _ in 0..10 {
        match probe.work() {
            Err(CallError::Panicked { message, .. }) => assert_eq!(message, "work was told to panic"),
            back => assert_eq!(back, Ok(1)),
        }
    }
    let (from, reason) = lab.wait_for(|event| match &event.kind {
        EventKind::RolledBack { from, reason } => Some((*from, reason.clone())),
        _ => None,
    });
    assert_eq!(from, Generation(2));
    assert!(reason.contains("calls failed, more than the 0.2 that `confirm` allows"), "{reason}");
    assert_eq!((probe.version().unwrap(), probe.value().unwrap()), (1, 5));
}

#[test]
fn method_errors_count_in_the_confirm_window_if_configured() {
    for (errors, stays) in [("ignored", true), ("counted", false)] {
        let mut lab = Lab::new(&format!("confirm-{errors}"));
        let confirm = "window = \"10m\", max_error_rate = 0.2, min_calls = 5";
        let confirm = format!("[reload]\nconfirm = {{ {confirm}, errors = \"{errors}\" }}");
        lab.install_with(misbehave("version=1"), &confirm);
        lab.start();
        lab.install(misbehave("version=2"));
        lab.reload().unwrap();
        let probe = lab.probe();
        (0..10).for_each(|_| drop(probe.repeat("x", 1001).unwrap_err()));
        if stays {
            // The errors do not count, so only the panics cause the rollback.
            (0..5).for_each(|_| drop(probe.panic("x")));
        }
        let reason = lab.wait_for(|event| match &event.kind {
            EventKind::RolledBack { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        let failed: u64 = reason.split(' ').next().unwrap().parse().unwrap();
        assert!(failed <= 5 || !stays, "{reason}");
    }
}

#[test]
fn a_plugin_with_only_one_version_cannot_be_rolled_back() {
    let mut lab = Lab::running("only-version");
    let error = lab.host().rollback(&lab.id(), None).wait().unwrap_err();
    assert!(
        matches!(&error, HostError::NoEarlierVersion { plugin } if plugin.as_str() == lab.id()),
        "{error}"
    );
    let text = error.to_string();
    assert!(text.starts_with("dev.test.only-version: there is no earlier version to go back to"), "{text}");
    assert!(text.contains("edit the source") && !text.contains("store failed"), "{text}");
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert!(lab.host().rollback(&lab.id(), None).wait().is_ok());
    let error = lab.host().rollback(&lab.id(), None).wait().unwrap_err();
    assert!(matches!(error, HostError::NoEarlierVersion { .. }), "the first version serves again: {error}");
}

#[test]
fn the_event_stream_ends_when_the_host_is_dropped() {
    let lab = running("events-end", "");
    let mut events = lab.host().events();
    drop(lab);
    let (done, ended) = mpsc::channel();
    // This runs on a separate thread, so that a reader that waits forever fails only this test.
    thread::spawn(move || {
        let kinds: Vec<_> =
            iter::from_fn(|| events.next_blocking()).map(|event| event.kind.clone()).collect();
        done.send(kinds)
    });
    let hang_guard = Duration::from_secs(60);
    let kinds = ended.recv_timeout(hang_guard).expect("the events end");
    assert!(matches!(kinds.last(), Some(EventKind::HostStopped)), "{kinds:?}");
}
