//! Invalid calls, nested calls, calls during a reload, and large calls.

use replug::{CallError, Handle, HostError};
use replug_tests::{Everything, Hold, Lab, Probe, ProbeError, Tally, misbehave, recorder};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

#[test]
fn an_error_for_an_unknown_plugin_suggests_the_nearest_one() {
    let lab = Lab::running("unknown-plugin");
    let error = lab.host().plugin("dev.test.unknown-plugni").unwrap_err();
    assert!(matches!(error, HostError::UnknownPlugin { .. }));
    let expected = "no plugin `dev.test.unknown-plugni`; did you mean `dev.test.unknown-plugin`?";
    assert_eq!(error.to_string(), expected);
    assert_eq!(lab.host().reload("dev.test.unknown-plugni").wait().unwrap_err().to_string(), expected);
}

#[test]
fn an_error_for_a_missing_interface_lists_the_existing_ones() {
    let lab = Lab::running("lacking-interface");
    let error = lab.host().get::<dyn Tally>(&lab.id()).unwrap_err().to_string();
    let expected = "does not implement `Tally`, which the host asks for; it implements `Probe`, `Everything`";
    assert_eq!(error, format!("{} {expected}", lab.id()));
    assert_eq!(lab.host().find::<dyn Tally>().len(), 0);
    assert_eq!(lab.host().find::<dyn Probe>().len(), 1);
    lab.reload().unwrap();
    assert_eq!(
        lab.probe().version().unwrap(),
        1,
        "a failed request for an interface does not affect a reload"
    );
}

#[test]
fn an_error_for_an_unknown_method_suggests_the_nearest_one() {
    let lab = Lab::running("unknown-method");
    let error = lab.call("ehco", json!(["x"])).unwrap_err().to_string();
    assert_eq!(error, "no method `ehco`; did you mean `echo`?");
    let error = lab.call("Prob.echo", json!(["x"])).unwrap_err().to_string();
    assert!(error.starts_with("no method `Prob.echo`"), "{error}");
    assert_eq!(lab.call("Probe.echo", json!(["x"])).unwrap(), json!("x"));
}

#[test]
fn errors_name_wrong_missing_and_extra_arguments() {
    let lab = Lab::running("arguments");
    let id = lab.id();
    let refused = |arguments: Value| match lab.call("repeat", arguments).unwrap_err() {
        CallError::BadArguments { plugin, method, message } => {
            assert_eq!((plugin.as_str(), method.as_str()), (id.as_str(), "repeat"));
            message
        }
        other => panic!("{other}"),
    };
    let wrong = refused(json!({"text": "x", "times": "many"}));
    assert!(wrong.contains("argument `times`: invalid type: string \"many\", expected u32"), "{wrong}");
    assert_eq!(refused(json!({"text": "x"})), "missing argument `times` (expected text, times)");
    assert_eq!(
        refused(json!({"text": "x", "times": 1, "tempo": 2})),
        "unexpected argument `tempo` (expected text, times)"
    );
    assert_eq!(refused(json!(["x", 1, 2])), "takes 2 arguments (text, times), 3 given");
    assert!(refused(json!(7)).contains("must be a JSON object by name or an array by position"));
    assert_eq!(lab.call("repeat", json!({"times": 2, "text": "ab"})).unwrap(), json!("abab"));
    assert_eq!(lab.call("repeat", json!(["ab", 2])).unwrap(), json!("abab"));
}

#[test]
fn an_error_of_the_plugin_is_returned_unchanged() {
    let lab = Lab::running("own-error");
    let expected = ProbeError { code: "too_often".into(), message: "1001 times is too often".into() };
    assert_eq!(lab.probe().repeat("x", 1001).unwrap_err(), CallError::Plugin(expected));
    let by_name = lab.call("repeat", json!(["x", 1001])).unwrap_err();
    assert_eq!(
        by_name,
        CallError::Plugin(json!({"code": "too_often", "message": "1001 times is too often"}))
    );
}

#[test]
fn a_panic_returns_its_message_and_location_and_keeps_the_plugin() {
    let lab = Lab::running("panics");
    let typed = lab.probe().panic("so it goes").unwrap_err();
    let by_name = lab.call("panic", json!(["so it goes"])).unwrap_err().to_string();
    for error in [typed.to_string(), by_name] {
        assert!(
            error.starts_with("`panic` of dev.test.panics g1 panicked: so it goes (src/lib.rs:"),
            "{error}"
        );
    }
    assert_eq!(lab.probe().version().unwrap(), 1);
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.calls, info.failures, info.in_flight), (3, 2, 0));
}

#[test]
fn a_text_of_64_mebibytes_round_trips() {
    let lab = Lab::running("large");
    let text = "0123456789abcdef".repeat(4 << 20);
    assert_eq!(text.len(), 64 << 20);
    assert!(lab.probe().echo(&text).unwrap() == text, "the typed call returned another text");
    assert!(
        lab.call("echo", json!([text])).unwrap() == json!(text),
        "the call by name returned another text"
    );
}

#[test]
fn a_plugin_can_be_called_again_from_inside_its_own_call() {
    let lab = Lab::running("nested");
    let inner = Arc::new(Mutex::new(Vec::new()));
    let (probe, results) = (lab.probe(), inner.clone());
    recorder::when(&lab.id(), "call back", move || {
        results.lock().unwrap().push(probe.increment(2).unwrap());
        assert!(probe.panic("inside").is_err());
    });
    lab.probe().log("info", "call back").unwrap();
    assert_eq!(*inner.lock().unwrap(), [2]);
    assert_eq!(lab.probe().value().unwrap(), 2);
    recorder::when(&lab.id(), "call back", || ());
}

#[test]
fn a_nested_call_does_not_wait_for_a_reload_during_the_outer_call() {
    let mut lab = Lab::new("nested-in-reload");
    let hold = Hold::new(lab.dir());
    // The plugin has state, so a reload pauses it: before `save`, the host waits for the outer call.
    lab.install(misbehave("version=1"));
    lab.start();
    let inner = Arc::new(Mutex::new(Vec::new()));
    let (probe, results, socket) = (lab.probe(), inner.clone(), hold.path().to_owned());
    recorder::when(&lab.id(), "call back", move || {
        results.lock().unwrap().push(probe.hold(&socket).unwrap())
    });
    let probe = lab.probe();
    let outer = thread::spawn(move || probe.log("info", "call back"));
    let inside = hold.entered();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    drop(inside);
    outer.join().unwrap().unwrap();
    reloading.wait().unwrap();
    assert_eq!(*inner.lock().unwrap(), [1]);
    assert_eq!(lab.probe().version().unwrap(), 2);
    recorder::when(&lab.id(), "call back", || ());
}

#[test]
fn a_nested_call_works_with_a_handle_created_during_the_outer_call() {
    let mut lab = Lab::new("nested-newer");
    let hold = Hold::new(lab.dir());
    lab.install(misbehave("version=1"));
    lab.start();
    let newer = Arc::new(OnceLock::<Handle<dyn Everything>>::new());
    let results = Arc::new(Mutex::new(Vec::new()));
    let (handle, inner, outer_probe) = (newer.clone(), results.clone(), lab.probe());
    let socket = hold.path().to_owned();
    recorder::when(&lab.id(), "call back", move || {
        outer_probe.hold(&socket).unwrap();
        inner.lock().unwrap().push(handle.get().unwrap().small(true, 'x', Duration::ZERO));
    });
    let probe = lab.probe();
    let outer = thread::spawn(move || probe.log("info", "call back"));
    let outside = hold.entered();
    newer.set(lab.host().get(&lab.id()).unwrap()).unwrap();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    // As soon as calls of other threads wait, the pause has begun. Nested calls of the outer thread still run.
    let waits = || {
        matches!(
            Handle::within(&lab.probe(), Duration::from_millis(1)).version(),
            Err(CallError::NotRunning { .. })
        )
    };
    while !waits() {}
    drop(outside);
    outer.join().unwrap().unwrap();
    reloading.wait().unwrap();
    assert_eq!(*results.lock().unwrap(), [Ok((true, 'x', Duration::ZERO))]);
    assert_eq!(lab.probe().version().unwrap(), 2);
    recorder::when(&lab.id(), "call back", || ());
}

#[test]
fn a_call_nested_too_deeply_is_rejected_and_the_outer_calls_succeed() {
    const DEEPEST: usize = 32;
    let mut lab = Lab::new("deep-00");
    lab.install(misbehave("version=0"));
    let id = |depth: usize| format!("dev.test.deep-{depth:02}");
    for depth in 1..=DEEPEST {
        let manifest = format!("id = \"{}\"\nbinary = \"plugin.so\"", id(depth));
        lab.neighbour(&format!("deep-{depth:02}"), manifest, misbehave(&format!("version={depth}")));
    }
    lab.start();
    let refusals = Arc::new(Mutex::new(Vec::new()));
    for depth in 0..DEEPEST {
        let next: Handle<dyn Probe> = lab.host().get(&id(depth + 1)).unwrap();
        let refusals = refusals.clone();
        recorder::when(&id(depth), "deeper", move || {
            if let Err(error) = next.log("info", "deeper") {
                refusals.lock().unwrap().push(error.to_string());
            }
        });
    }
    lab.probe().log("info", "deeper").unwrap();
    let expected =
        format!("calls into plugins are nested 32 deep on this thread: {} was not called", id(DEEPEST));
    assert_eq!(*refusals.lock().unwrap(), [expected]);
    assert_eq!(lab.probe().version().unwrap(), 0);
}

#[test]
fn a_call_after_a_stop_fails_with_the_reason_until_a_start() {
    let lab = Lab::running("stopped");
    let (probe, id) = (lab.probe(), lab.id());
    lab.host().stop(&id).wait().unwrap();
    let error = probe.version().unwrap_err().to_string();
    assert_eq!(error, format!("{id} is not running: it was stopped; `start` it"));
    assert_eq!(lab.call("version", json!([])).unwrap_err().to_string(), error);
    lab.host().start(&id).wait().unwrap();
    assert_eq!(probe.version().unwrap(), 1);
    lab.host().shutdown().wait();
    let error = probe.version().unwrap_err().to_string();
    assert_eq!(error, format!("{id} is not running: the host has shut down"));
}

#[test]
fn calls_during_a_migration_wait_and_run_on_the_new_version() {
    let mut lab = Lab::new("waits");
    let hold = Hold::new(lab.dir());
    lab.install(misbehave(&format!("version=1 hold={}", hold.path())));
    lab.start();
    lab.probe().increment(5).unwrap();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    let saving = hold.entered();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let probe = lab.probe();
            thread::spawn(move || (probe.increment(1).unwrap(), probe.version().unwrap()))
        })
        .collect();
    assert!(
        callers.iter().all(|caller| !caller.is_finished()),
        "no call is answered while the state is saved"
    );
    drop(saving);
    reloading.wait().unwrap();
    for caller in callers {
        assert_eq!(caller.join().unwrap().1, 2);
    }
    assert_eq!(lab.probe().value().unwrap(), 9);
}
