//! Calls and steps that hang in the host's own process. The host cannot end them, but it reports them. Nothing else
//! waits for them, with one exception: while `save` hangs, calls into its plugin wait.

use replug::{CallError, EventKind, Generation, Handle, manifest::Mode};
use replug_tests::{Hold, Lab, misbehave};
use std::thread;

fn inside(name: &str, directives: &str, tables: &str) -> Lab {
    let mut lab = Lab::in_mode(name, Mode::InProcess);
    lab.install_with(misbehave(&format!("version=1 {directives}")), tables);
    lab.start();
    lab
}

/// The method and thread of the next call that is reported as stuck.
fn stuck(lab: &mut Lab) -> (String, String) {
    lab.wait_for(|event| match &event.kind {
        EventKind::PluginStuck { method, thread, thread_id, for_ms } => {
            assert!(*thread_id > 0 && *for_ms >= 20, "{event:?}");
            assert_eq!(event.generation, Some(Generation(1)));
            Some((method.clone(), thread.clone()))
        }
        _ => None,
    })
}

#[test]
fn a_stuck_call_is_reported_with_its_method_and_thread() {
    let mut lab = inside("stuck", "", "[process]\ncall_timeout = \"20ms\"");
    let hold = Hold::new(lab.dir());
    for name in ["first", "second"] {
        let (probe, path) = (lab.probe(), hold.path().to_owned());
        let caller = thread::Builder::new().name(name.into()).spawn(move || probe.hold(&path)).unwrap();
        let entered = hold.entered();
        assert_eq!(stuck(&mut lab), ("hold".to_owned(), name.to_owned()));
        drop(entered);
        assert_eq!(caller.join().unwrap(), Ok(1), "a stuck call is reported and not ended");
    }
    let (handle, path) = (lab.handle(), hold.path().to_owned());
    let caller = thread::spawn(move || handle.invoke_json("hold", serde_json::json!([path])).wait());
    let entered = hold.entered();
    assert_eq!(stuck(&mut lab).0, "hold", "a call by name is reported, too");
    drop(entered);
    caller.join().unwrap().unwrap();
}

#[test]
fn a_stuck_call_in_a_replaced_generation_is_reported() {
    let mut lab = Lab::in_mode("stuck-in-the-old", Mode::InProcess);
    lab.install_with(replug_tests::stateless("version=1"), "[process]\ncall_timeout = \"1s\"");
    lab.start();
    let hold = Hold::new(lab.dir());
    let (probe, path) = (lab.probe(), hold.path().to_owned());
    let caller = thread::spawn(move || probe.hold(&path));
    let entered = hold.entered();
    lab.install(replug_tests::stateless("version=2"));
    lab.reload().unwrap();
    assert_eq!(stuck(&mut lab).0, "hold");
    drop(entered);
    assert_eq!(caller.join().unwrap(), Ok(1));
}

const IMPATIENT: &str = "[process]\nstep_timeout = \"8s\"\n[reload]\npreflight = \"off\"";

#[test]
fn a_hanging_step_abandons_the_reload_and_the_old_version_serves() {
    for step in ["init", "restore", "start", "health"] {
        let mut lab = inside(&format!("hangs-in-{step}"), "", IMPATIENT);
        lab.probe().increment(5).unwrap();
        let hold = Hold::new(lab.dir());
        let error = lab.refused(misbehave(&format!("version=2 do={step}:wait@{}", hold.path())));
        let words = format!("`{step}` did not end within 8s: the reload is abandoned");
        assert!(error.contains(&words), "{error}");
        let entered = hold.entered();
        assert_eq!((lab.probe().version(), lab.probe().value()), (Ok(1), Ok(5)), "{step}");
        lab.install(misbehave("version=3"));
        lab.reload().unwrap();
        assert_eq!((lab.probe().version(), lab.probe().value()), (Ok(3), Ok(5)), "{step}");
        drop(entered);
        assert_eq!(lab.probe().increment(1), Ok(6));
    }
}

#[test]
fn a_hanging_save_abandons_the_reload_and_calls_wait_for_the_save() {
    let hold_dir = tempfile::tempdir().unwrap();
    let hold = Hold::new(hold_dir.path());
    let mut lab = inside("hangs-in-save", &format!("hold={}", hold.path()), IMPATIENT);
    lab.probe().increment(5).unwrap();
    let error = lab.refused(misbehave("version=2"));
    assert!(error.contains("migrate failed: `save` did not end within 8s"), "{error}");
    assert!(error.contains("until it returns, calls wait"), "{error}");
    let entered = hold.entered();
    let again = lab.reload().unwrap_err().to_string();
    assert!(again.contains("`save` of an earlier reload has not returned yet"), "{again}");
    let probe = lab.probe();
    let late = Handle::within(&probe, std::time::Duration::from_millis(10)).value().unwrap_err();
    assert!(matches!(&late, CallError::NotRunning { .. }), "{late}");
    assert!(late.to_string().contains("still being handed over when the call's deadline of 10ms"), "{late}");
    let caller = thread::spawn(move || probe.increment(1));
    drop(entered);
    assert_eq!(caller.join().unwrap(), Ok(6));
}

#[test]
fn a_hanging_stop_blocks_neither_calls_nor_a_start() {
    let hold_dir = tempfile::tempdir().unwrap();
    let hold = Hold::new(hold_dir.path());
    let tables = format!("{IMPATIENT}\ndrain_timeout = \"100ms\"");
    let lab = inside("hangs-in-stop", &format!("do=stop:wait@{}", hold.path()), &tables);
    lab.host().stop(&lab.id()).wait().unwrap();
    let entered = hold.entered();
    let error = lab.probe().version().unwrap_err();
    assert!(matches!(error, CallError::NotRunning { .. }), "{error}");
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!(lab.probe().version(), Ok(1), "a new instance starts next to the hanging one");
    drop((entered, hold));
}
