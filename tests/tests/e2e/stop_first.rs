//! Plugins with an exclusive resource, which need `[reload] order = "stop-first"`.

use replug::{CallError, EventKind, Generation, Handle, HostError, event::Stage, manifest::Mode};
use replug_tests::{Hold, Lab, Probe, misbehave};
use serde_json::json;
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

const MODES: [Mode; 2] = [Mode::InProcess, Mode::Process];
const STOP_FIRST: &str = "[reload]\norder = \"stop-first\"";

/// The fixture, which locks a file exclusively.
fn locking(lab: &Lab, directives: &str) -> Vec<u8> {
    misbehave(&format!("lock={} {directives}", lab.dir().join("lock").display()))
}

fn running(name: &str, mode: Mode) -> Lab {
    let mut lab = Lab::in_mode(name, mode);
    lab.install_with(locking(&lab, "version=1"), STOP_FIRST);
    lab.start();
    lab
}

/// Makes calls without pause while `done` runs, and returns their results.
fn calling<T>(probe: &Handle<dyn Probe>, done: impl FnOnce() -> T) -> (T, Vec<Result<u64, CallError>>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let calls = scope.spawn(|| {
            let mut ended = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                ended.push(probe.version());
            }
            ended
        });
        let done = done();
        stop.store(true, Ordering::Relaxed);
        (done, calls.join().expect("no panic"))
    })
}

/// The gap in the event of a reload: the time during which no version served.
fn gap(lab: &mut Lab) -> Option<f64> {
    lab.wait_for(|event| match event.kind {
        EventKind::Reloaded { gap_ms, .. } if event.generation != Some(Generation(1)) => Some(gap_ms),
        _ => None,
    })
}

#[test]
fn a_plugin_with_an_exclusive_resource_is_replaced_while_calls_wait() {
    for mode in MODES {
        let mut lab = running("exclusive", mode);
        let probe = lab.probe();
        assert_eq!(probe.increment(7), Ok(7));
        lab.install_with(locking(&lab, "version=2"), STOP_FIRST);
        let (reloaded, calls) = calling(&probe, || lab.reload());
        reloaded.unwrap();
        let failed: Vec<_> = calls.iter().filter(|call| call.is_err()).collect();
        assert!(failed.is_empty(), "{failed:?}");
        assert_eq!((probe.version(), probe.increment(1)), (Ok(2), Ok(8)), "the new version has the state");
        assert!(gap(&mut lab).is_some_and(|gap| gap > 0.0));
    }
}

#[test]
fn a_call_in_the_gap_waits_until_its_deadline_or_the_next_version() {
    for mode in MODES {
        let mut lab = running("in-the-gap", mode);
        let hold = Hold::new(lab.dir());
        let (host, id, probe, by_name) = (lab.host().clone(), lab.id(), lab.probe(), lab.handle());
        let init = format!("version=2 do=init:continue@{}", hold.path());
        lab.install_with(locking(&lab, &init), STOP_FIRST);
        thread::scope(|scope| {
            let reload = scope.spawn(|| host.reload(&id).wait());
            let inside = hold.entered();
            // The old version is stopped, and the new one is in `init`.
            for error in [
                Handle::within(&probe, Duration::from_millis(20)).version().unwrap_err().to_string(),
                by_name
                    .invoke_json("version", json!([]))
                    .timeout(Duration::from_millis(20))
                    .wait()
                    .unwrap_err()
                    .to_string(),
            ] {
                assert!(error.contains("deadline of 20ms passed: the call was not made"), "{error}");
            }
            let waiting = scope.spawn(|| probe.version());
            let waiting_by_name = scope.spawn(|| by_name.invoke_json("version", json!([])).wait());
            drop(inside);
            assert_eq!(reload.join().unwrap().unwrap(), Generation(2));
            assert_eq!(waiting.join().unwrap(), Ok(2));
            assert_eq!(waiting_by_name.join().unwrap(), Ok(json!(2)));
        });
    }
}

#[test]
fn without_stop_first_a_plugin_with_a_lock_is_not_replaced() {
    let mut lab = Lab::new("start-first");
    lab.install(locking(&lab, "version=1"));
    lab.start();
    lab.install(locking(&lab, "version=2"));
    let error = lab.reload().unwrap_err().to_string();
    assert!(error.contains("is locked by another instance"), "{error}");
    assert_eq!(lab.probe().version(), Ok(1));
}

#[test]
fn the_old_version_returns_if_the_new_one_does_not_start() {
    for mode in MODES {
        for (number, entry) in ["init", "restore", "start"].into_iter().enumerate() {
            let mut lab = running(&format!("given-back-{number}"), mode);
            let probe = lab.probe();
            assert_eq!(probe.increment(7), Ok(7));
            lab.install_with(locking(&lab, &format!("version=2 fail={entry}")), STOP_FIRST);
            let (reloaded, calls) = calling(&probe, || lab.reload());
            let error = reloaded.unwrap_err();
            assert!(error.to_string().contains(&format!("{entry} was told to fail")), "{error}");
            let failed: Vec<_> = calls.iter().filter(|call| call.is_err()).collect();
            assert!(failed.is_empty(), "{entry}: {failed:?}");
            assert_eq!(
                (probe.version(), probe.increment(1)),
                (Ok(1), Ok(8)),
                "{entry}: the old version has its state"
            );
            let (kept, gap) = lab.wait_for(|event| match &event.kind {
                EventKind::ReloadFailed { kept_generation, gap_ms, .. } => Some((*kept_generation, *gap_ms)),
                _ => None,
            });
            assert_eq!(kept, Handle::generation(&probe));
            assert!(gap.is_some_and(|gap| gap > 0.0));
            // The plugin can still be replaced.
            lab.install_with(locking(&lab, "version=3"), STOP_FIRST);
            lab.reload().unwrap();
            assert_eq!((probe.version(), probe.increment(1)), (Ok(3), Ok(9)));
        }
    }
}

#[test]
fn a_failed_return_to_the_previous_version_is_reported_until_a_reload() {
    let mut lab = Lab::in_mode("lost-place", Mode::InProcess);
    lab.install_with(locking(&lab, "version=1"), STOP_FIRST);
    lab.start();
    let probe = lab.probe();
    // The serving version keeps its lock, but no instance can lock this path again.
    fs::remove_file(lab.dir().join("lock")).unwrap();
    fs::create_dir(lab.dir().join("lock")).unwrap();
    lab.install_with(misbehave("version=2 fail=init"), STOP_FIRST);
    lab.reload().unwrap_err();
    let error = probe.version().unwrap_err();
    let CallError::NotRunning { reason, .. } = &error else { panic!("{error:?}") };
    assert!(
        reason.contains("g1 was stopped to make room for a new version that failed to start"),
        "{reason}"
    );
    lab.install_with(misbehave("version=3"), STOP_FIRST);
    lab.reload().unwrap();
    assert_eq!(probe.version(), Ok(3));
}

#[test]
fn a_call_that_outlasts_the_drain_timeout_keeps_its_version_serving() {
    let mut lab = Lab::in_mode("still-held", Mode::InProcess);
    let manifest = format!("{STOP_FIRST}\ndrain_timeout = \"50ms\"");
    lab.install_with(locking(&lab, "version=1"), &manifest);
    lab.start();
    let hold = Hold::new(lab.dir());
    let probe = lab.probe();
    thread::scope(|scope| {
        let call = scope.spawn(|| probe.hold(hold.path()));
        let inside = hold.entered();
        lab.install_with(locking(&lab, "version=2"), &manifest);
        let HostError::Reload(error) = lab.reload().unwrap_err() else { panic!("another error") };
        assert_eq!(error.stage, Stage::Migrate);
        assert_eq!(Handle::generation(&probe), Some(Generation(1)));
        drop(inside);
        call.join().expect("no panic").expect("an answer");
    });
    assert_eq!(probe.version(), Ok(1));
}
