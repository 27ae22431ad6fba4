//! A plugin behaves the same in the host's process and in a child process. Each test runs four times: in the host's
//! process on the threads of the callers, there on threads of its own, in a child process that is called through shared
//! memory, and in a child process that is called over a socket.

mod library_types;
mod values;

use library_types::{
    bad_values_of_library_types_are_rejected, values_of_library_types_round_trip,
    values_that_only_serde_can_encode_round_trip,
};
use replug::{
    CallError, Event, EventKind, Generation, Handle, Status,
    event::{ConfiguredHow, RetireOutcome},
    manifest::{LaneKind, Mode},
};
use replug_tests::{Lab, Probe, ProbeError, Tally, lab, misbehave, recorder};
use serde_json::{Value, json, value::to_raw_value};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};
use values::every_kind_of_value_round_trips;

macro_rules! everywhere {
    ($($behaviour:ident,)*) => {
        mod in_process {
            $(#[test] fn $behaviour() { super::$behaviour(super::Mode::InProcess) })*
        }
        mod on_threads_of_its_own {
            $(#[test] fn $behaviour() {
                super::lab::unloading(|| super::$behaviour(super::Mode::InProcess));
            })*
        }
        mod in_its_own_process {
            $(#[test] fn $behaviour() { super::$behaviour(super::Mode::Process) })*
        }
        mod over_a_socket {
            $(#[test] fn $behaviour() {
                super::lab::over(super::LaneKind::Socket, || super::$behaviour(super::Mode::Process));
            })*
        }
    };
}

everywhere! {
    typed_calls_and_calls_by_name_return_the_result_of_the_method,
    every_kind_of_value_round_trips,
    values_of_library_types_round_trip,
    values_that_only_serde_can_encode_round_trip,
    bad_values_of_library_types_are_rejected,
    a_resolved_method_returns_what_a_call_by_name_returns,
    a_resolved_method_fails_as_a_call_by_name_fails,
    types_that_differ_from_those_of_a_method_are_rejected,
    an_error_of_the_plugin_is_returned_unchanged,
    a_panic_returns_message_and_location_and_the_plugin_still_serves,
    a_text_of_8_mebibytes_round_trips,
    eight_concurrent_callers_lose_no_call,
    errors_name_wrong_arguments_and_unknown_methods,
    a_call_by_a_tracing_subscriber_inside_a_call_is_answered,
    reloads_under_load_fail_no_call_and_serve_no_older_version,
    a_state_survives_a_reload_and_a_rollback,
    a_log_event_has_generation_and_spans_and_is_truncated,
    a_panic_is_reported_with_plugin_and_generation,
    a_configuration_changes_live_or_with_a_new_instance,
    an_unhealthy_version_is_rejected,
    a_call_after_a_stop_fails_with_the_reason_until_a_start,
    a_call_of_a_missing_method_returns_not_implemented,
    an_error_names_a_changed_interface,
    a_replaced_instance_is_retired,
    a_resolved_method_fails_after_a_stop_until_a_start,
}

fn running(name: &str, mode: Mode) -> Lab {
    let mut lab = Lab::in_mode(name, mode);
    lab.install(misbehave("version=1"));
    lab.start();
    let separate = lab.host().info(&lab.id()).unwrap().process_id.is_some();
    assert_eq!(separate, mode == Mode::Process, "the plugin runs in the process that its manifest says");
    lab
}

fn typed_calls_and_calls_by_name_return_the_result_of_the_method(mode: Mode) {
    let lab = running("every-kind", mode);
    let probe = lab.probe();
    assert_eq!(probe.version().unwrap(), 1);
    assert_eq!(probe.increment(u64::MAX).unwrap(), u64::MAX);
    assert_eq!(probe.value().unwrap(), u64::MAX);
    assert_eq!(probe.word().unwrap(), "");
    for text in ["", "plain", "ünïcödé \u{1f980} \"quoted\"\n\0"] {
        assert_eq!(probe.echo(text).unwrap(), text);
        assert_eq!(lab.call("echo", json!([text])).unwrap(), json!(text));
    }
    assert_eq!(probe.repeat("ab", 3).unwrap(), "ababab");
    assert_eq!(lab.call("repeat", json!({"times": 3, "text": "ab"})).unwrap(), json!("ababab"));
    assert_eq!(lab.call("value", json!(null)).unwrap(), json!(u64::MAX));
    assert_eq!(probe.log("debug", "nothing to return").unwrap(), ());
    assert_eq!(lab.call("log", json!(["debug", "nothing to return"])).unwrap(), json!(null));
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.status, info.failures, info.in_flight), (Status::Ready, 0, 0));
}

fn a_resolved_method_returns_what_a_call_by_name_returns(mode: Mode) {
    let lab = running("resolved", mode);
    let echo = lab.handle().method("echo").unwrap();
    assert_eq!((echo.id().to_string(), echo.name()), (lab.id(), "echo"));
    let typed = echo.typed::<(String,), String>().unwrap();
    // The arguments of a typed method are in a buffer on the stack if they fit.
    for text in [String::new(), "ünïcödé \u{1f980} \"quoted\"\n\0".into(), "long ".repeat(1000)] {
        let arguments = json!({ "text": text });
        assert_eq!(echo.call_json(&arguments).unwrap(), json!(text));
        let raw = echo.call_raw(&to_raw_value(&arguments).unwrap()).unwrap();
        assert_eq!(raw.get(), json!(text).to_string());
        assert_eq!(
            lab.handle().invoke_raw("echo", to_raw_value(&[&text]).unwrap()).wait().unwrap(),
            json!(text)
        );
        assert_eq!(typed.call(&(text.clone(),)).unwrap(), text);
    }
    let increment = lab.handle().method("Probe.increment").unwrap();
    assert_eq!(increment.call_json(&json!([2])).unwrap(), json!(2));
    let value = lab.handle().method("value").unwrap();
    assert_eq!(value.call_json(&json!(null)).unwrap(), json!(2));
    assert_eq!(value.typed::<(), u64>().unwrap().call(&()).unwrap(), 2);
    let repeat = lab.handle().method("repeat").unwrap();
    let typed = repeat.typed_fallible::<(String, u32), String, ProbeError>().unwrap();
    assert_eq!(typed.call(&("ab".into(), 3)).unwrap(), "ababab");
    let clones = (increment.clone(), typed.clone());
    assert_eq!(clones.0.call_json(&json!([1])).unwrap(), json!(3));
    assert_eq!(clones.1.call(&("x".into(), 2)).unwrap(), "xx");
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.calls, info.failures, info.in_flight), (18, 0, 0));
}

fn a_resolved_method_fails_as_a_call_by_name_fails(mode: Mode) {
    let lab = running("resolved-fails", mode);
    let method = |name: &str| lab.handle().method(name).unwrap();
    let unknown = lab.handle().method("ehco").unwrap_err().to_string();
    assert_eq!(unknown, "no method `ehco`; did you mean `echo`?");
    let repeat = method("repeat");
    let long = Duration::from_secs(600);
    for wrong in [json!(["x", "many"]), json!({"text": "x"}), json!(7), json!(["x", 1001])] {
        let by_name = lab.call("repeat", wrong.clone()).unwrap_err();
        assert_eq!(repeat.call_json(&wrong).unwrap_err(), by_name);
        assert_eq!(repeat.call_raw(&to_raw_value(&wrong).unwrap()).unwrap_err(), by_name);
        assert_eq!(repeat.within(long).call_json(&wrong).unwrap_err(), by_name);
    }
    let typed = repeat.typed_fallible::<(String, u32), String, ProbeError>().unwrap();
    let expected = ProbeError { code: "too_often".into(), message: "1001 times is too often".into() };
    assert_eq!(typed.call(&("x".into(), 1001)).unwrap_err(), CallError::Plugin(expected));
    let panicked = method("panic").call_json(&json!(["so it goes"])).unwrap_err().to_string();
    let typed = method("panic").typed::<(String,), ()>().unwrap();
    let expected = format!("`panic` of {} g1 panicked: so it goes (src/lib.rs:", lab.id());
    for error in [panicked, typed.call(&("so it goes".into(),)).unwrap_err().to_string()] {
        assert!(error.starts_with(&expected), "{error}");
    }
    let info = lab.host().info(&lab.id()).unwrap();
    // Of the sixteen calls of the loop, only the four with the plugin's own error count as failures. The three calls
    // after the loop fail, too.
    assert_eq!((info.calls, info.failures, info.in_flight), (19, 7, 0));
}

fn types_that_differ_from_those_of_a_method_are_rejected(mode: Mode) {
    /// A type with the name of the fixture's error, and with other fields.
    mod other {
        #[replug_api::data]
        #[derive(Debug)]
        pub(super) struct ProbeError {
            pub(super) code: u32,
            pub(super) message: String,
        }
    }
    let lab = running("resolved-types", mode);
    let repeat = lab.handle().method("repeat").unwrap();
    let why = |error: CallError| match error {
        CallError::BadArguments { method, message, .. } => (method, "arguments", message),
        CallError::BadResult { method, message, .. } => (method, "result", message),
        error => panic!("{error}"),
    };
    let said = |error: CallError| {
        let (method, what, message) = why(error);
        assert_eq!(method, "repeat");
        format!("{what}: {message}")
    };
    let error = repeat.typed_fallible::<(String, i32), String, ProbeError>().unwrap_err();
    let expected = "arguments: `repeat`: parameter `times` is i32 in the host and u32 in the plugin";
    assert_eq!(said(error), expected);
    let error = repeat.typed_fallible::<(String,), String, ProbeError>().unwrap_err();
    assert_eq!(said(error), "arguments: `repeat` takes (text) in the host and (text, times) in the plugin");
    let error = repeat.typed_fallible::<(String, u32), u32, ProbeError>().unwrap_err();
    assert_eq!(said(error), "result: `repeat`: the result is u32 in the host and String in the plugin");
    let error = repeat.typed::<(String, u32), String>().unwrap_err();
    let expected = "result: `repeat`: cannot fail in the host and returns a Result in the plugin";
    assert_eq!(said(error), expected);
    let error = repeat.typed_fallible::<(String, u32), String, other::ProbeError>().unwrap_err();
    let expected = "result: type `ProbeError`: field `code` is u32 in the host and String in the plugin";
    assert_eq!(said(error), expected);
    assert_eq!(lab.host().info(&lab.id()).unwrap().calls, 0);
}

fn an_error_of_the_plugin_is_returned_unchanged(mode: Mode) {
    let lab = running("own-error", mode);
    let expected = ProbeError { code: "too_often".into(), message: "1001 times is too often".into() };
    assert_eq!(lab.probe().repeat("x", 1001).unwrap_err(), CallError::Plugin(expected));
    let by_name = lab.call("repeat", json!(["x", 1001])).unwrap_err();
    let expected = json!({"code": "too_often", "message": "1001 times is too often"});
    assert_eq!(by_name, CallError::Plugin(expected));
}

fn a_panic_returns_message_and_location_and_the_plugin_still_serves(mode: Mode) {
    let lab = running("panic", mode);
    let typed = lab.probe().panic("so it goes").unwrap_err();
    let by_name = lab.call("panic", json!(["so it goes"])).unwrap_err().to_string();
    let expected = format!("`panic` of {} g1 panicked: so it goes (src/lib.rs:", lab.id());
    for error in [typed.to_string(), by_name] {
        assert!(error.starts_with(&expected), "{error}");
    }
    assert_eq!(lab.probe().version().unwrap(), 1);
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!((info.calls, info.failures, info.in_flight), (3, 2, 0));
}

fn a_text_of_8_mebibytes_round_trips(mode: Mode) {
    let lab = running("large", mode);
    let text = "0123456789abcdef".repeat(512 << 10);
    assert_eq!(text.len(), 8 << 20);
    assert!(lab.probe().echo(&text).unwrap() == text, "the typed call returned another text");
    assert!(
        lab.call("echo", json!([text])).unwrap() == json!(text),
        "the call by name returned another text"
    );
}

fn eight_concurrent_callers_lose_no_call(mode: Mode) {
    const CALLS: u64 = 200;
    let lab = running("eight-callers", mode);
    thread::scope(|scope| {
        for caller in 0..8 {
            let (probe, handle) = (lab.probe(), lab.handle());
            scope.spawn(move || {
                for call in 0..CALLS {
                    let text = format!("{caller} {call}");
                    assert_eq!(probe.echo(&text).unwrap(), text);
                    assert_eq!(handle.invoke_json("echo", json!([text])).wait().unwrap(), json!(text));
                    probe.increment(1).unwrap();
                }
            });
        }
    });
    assert_eq!(lab.probe().value().unwrap(), 8 * CALLS);
}

fn errors_name_wrong_arguments_and_unknown_methods(mode: Mode) {
    let lab = running("arguments", mode);
    let refused = |arguments: Value| match lab.call("repeat", arguments).unwrap_err() {
        CallError::BadArguments { plugin, method, message } => {
            assert_eq!((plugin, method.as_str()), (lab.id(), "repeat"));
            message
        }
        other => panic!("{other}"),
    };
    let wrong = refused(json!({"text": "x", "times": "many"}));
    assert!(wrong.contains("argument `times`: invalid type: string \"many\", expected u32"), "{wrong}");
    assert_eq!(refused(json!({"text": "x"})), "missing argument `times` (expected text, times)");
    let extra = refused(json!({"text": "x", "times": 1, "tempo": 2}));
    assert_eq!(extra, "unexpected argument `tempo` (expected text, times)");
    assert_eq!(refused(json!(["x", 1, 2])), "takes 2 arguments (text, times), 3 given");
    let unknown = lab.call("ehco", json!(["x"])).unwrap_err().to_string();
    assert_eq!(unknown, "no method `ehco`; did you mean `echo`?");
}

fn a_call_by_a_tracing_subscriber_inside_a_call_is_answered(mode: Mode) {
    let mut lab = running("nested", mode);
    let probe = lab.probe();
    let inner = std::sync::Arc::new(AtomicU64::new(0));
    let result = inner.clone();
    recorder::when(&lab.id(), "call back", move || {
        result.store(probe.increment(2).unwrap(), Ordering::Relaxed);
    });
    lab.probe().log("info", "call back").unwrap();
    lab.wait_for(|event| matches!(event.kind, EventKind::Log { .. }).then_some(()));
    assert_eq!(inner.load(Ordering::Relaxed), 2);
    recorder::when(&lab.id(), "call back", || ());
}

fn reloads_under_load_fail_no_call_and_serve_no_older_version(mode: Mode) {
    let mut lab = running("under-load", mode);
    let (done, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            let probe = lab.probe();
            let (done, calls) = (&done, &calls);
            scope.spawn(move || {
                let mut newest = 0;
                while !done.load(Ordering::Relaxed) {
                    let version = probe.version().unwrap();
                    assert!(version >= newest, "{version} after {newest}");
                    newest = version;
                    probe.increment(1).unwrap();
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for version in 2..=6 {
            lab.install(misbehave(&format!("version={version}")));
            let reloaded = lab.reload();
            if reloaded.is_err() {
                done.store(true, Ordering::Relaxed);
            }
            reloaded.unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(lab.probe().version().unwrap(), 6);
    assert_eq!(
        lab.probe().value().unwrap(),
        calls.load(Ordering::Relaxed),
        "each call took effect exactly once"
    );
    assert_eq!(lab.host().info(&lab.id()).unwrap().failures, 0);
}

fn a_state_survives_a_reload_and_a_rollback(mode: Mode) {
    let mut lab = running("handed-over", mode);
    lab.probe().increment(5).unwrap();
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    assert_eq!(lab.probe().increment(1).unwrap(), 6);
    lab.host().rollback(&lab.id(), None).wait().unwrap();
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 6));
    assert_eq!(Handle::generation(&lab.probe()), Some(Generation(3)));
    let error = lab.refused(misbehave("version=3 knows_state=7"));
    assert!(error.contains("cannot read a state of version 1 [unknown_state_version]"), "{error}");
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (1, 6));
}

fn a_log_event_has_generation_and_spans_and_is_truncated(mode: Mode) {
    let mut lab = running("logs", mode);
    lab.reload().unwrap();
    lab.probe().log("warn", "something odd").unwrap();
    let (generation, fields, spans) = lab.wait_for(|event| match &event.kind {
        EventKind::Log { message, fields, spans, .. } if message == "something odd" => {
            Some((event.generation, fields.clone(), spans.clone()))
        }
        _ => None,
    });
    assert_eq!((generation, fields), (Some(Generation(2)), json!({"number": 7})));
    assert_eq!(spans, [json!({"name": "outer", "fields": {"answer": 42}})]);
    let records = recorder::of(&lab.id());
    let record = records.iter().find(|record| record.message == "something odd").unwrap();
    assert_eq!((record.fields["generation"].as_str(), record.fields["from"].as_str()), ("2", "misbehave"));
    lab.probe().log("trace", "too much").unwrap();
    lab.probe().log("debug", "just enough").unwrap();
    let logged = |event: &Event| match &event.kind {
        EventKind::Log { message, .. } => Some(message.clone()),
        _ => None,
    };
    assert_eq!(lab.wait_for(logged), "just enough");
    lab.probe().log("warn", &"long ".repeat(100_000)).unwrap();
    let told = lab.wait_for(logged);
    assert!(told.len() < 20_000 && told.ends_with(" bytes cut)"), "{} bytes", told.len());
    lab.probe().panic(&"long ".repeat(100_000)).unwrap_err();
    let told = lab.wait_for(|event| match &event.kind {
        EventKind::PluginPanicked { message, .. } => Some(message.clone()),
        _ => None,
    });
    assert!(told.len() < 20_000 && told.ends_with(" bytes cut)"), "{} bytes", told.len());
}

fn a_panic_is_reported_with_plugin_and_generation(mode: Mode) {
    let mut lab = running("panic-reported", mode);
    lab.reload().unwrap();
    lab.probe().panic("in a call").unwrap_err();
    lab.probe().panic_elsewhere("on its own thread").unwrap();
    for expected in ["in a call", "on its own thread"] {
        let (of, message, location) = lab.wait_for(|event| match &event.kind {
            EventKind::PluginPanicked { message, location, .. } => {
                Some(((event.plugin.clone(), event.generation), message.clone(), location.clone()))
            }
            _ => None,
        });
        assert_eq!((of.0.unwrap().as_str(), of.1), (lab.id().as_str(), Some(Generation(2))));
        assert_eq!(message, expected);
        assert!(location.starts_with("src/lib.rs:"), "{location}");
    }
}

fn a_configuration_changes_live_or_with_a_new_instance(mode: Mode) {
    let mut lab = Lab::in_mode("configured", mode);
    let config = |rest: &str| format!("binary = \"plugin.so\"\n[config]\n{rest}");
    lab.install(misbehave("version=1"));
    lab.set_manifest(&config("word = \"one\""));
    lab.start_watching();
    let probe = lab.probe();
    probe.increment(5).unwrap();
    assert_eq!(probe.word().unwrap(), "one");
    let configured = |lab: &mut Lab| {
        lab.wait_for(|event| match &event.kind {
            EventKind::Configured { how } => Some(*how),
            _ => None,
        })
    };
    lab.set_manifest(&config("word = \"two\""));
    assert_eq!(configured(&mut lab), ConfiguredHow::Live);
    assert_eq!((probe.word().unwrap(), Handle::generation(&probe)), ("two".into(), Some(Generation(1))));
    lab.set_manifest(&config("word = \"three\"\nrestart = true"));
    assert_eq!(configured(&mut lab), ConfiguredHow::Restarted);
    assert_eq!((probe.word().unwrap(), Handle::generation(&probe)), ("three".into(), Some(Generation(2))));
    assert_eq!(probe.value().unwrap(), 5);
}

fn an_unhealthy_version_is_rejected(mode: Mode) {
    let mut lab = running("unhealthy", mode);
    let error = lab.refused(misbehave("version=2 unhealthy=headache"));
    assert!(error.contains("the health check failed in the trial: headache"), "{error}");
    assert_eq!(lab.probe().version().unwrap(), 1);
}

fn a_call_after_a_stop_fails_with_the_reason_until_a_start(mode: Mode) {
    let lab = running("stopped", mode);
    let (probe, id) = (lab.probe(), lab.id());
    lab.host().stop(&id).wait().unwrap();
    lab.assert_childless();
    let error = probe.version().unwrap_err().to_string();
    assert_eq!(error, format!("{id} is not running: it was stopped; `start` it"));
    assert_eq!(lab.call("version", json!([])).unwrap_err().to_string(), error);
    lab.host().start(&id).wait().unwrap();
    assert_eq!(probe.version().unwrap(), 1);
}

fn a_resolved_method_fails_after_a_stop_until_a_start(mode: Mode) {
    let lab = running("resolved-stopped", mode);
    let version = lab.handle().method("version").unwrap();
    let typed = version.typed::<(), u64>().unwrap();
    lab.host().stop(&lab.id()).wait().unwrap();
    let expected = lab.call("version", json!([])).unwrap_err().to_string();
    assert_eq!(version.call_json(&json!([])).unwrap_err().to_string(), expected);
    assert_eq!(typed.call(&()).unwrap_err().to_string(), expected);
    assert_eq!(lab.handle().method("version").unwrap_err().to_string(), expected);
    lab.host().start(&lab.id()).wait().unwrap();
    assert_eq!((version.call_json(&json!([])).unwrap(), typed.call(&()).unwrap()), (json!(1), 1));
}

/// The interface as a newer version of the host declares it.
mod newer {
    use replug_tests::ProbeError;

    #[replug_api::interface]
    pub(super) trait Probe {
        fn version(&self) -> u64;
        fn increment(&self, by: u64) -> u64;
        fn value(&self) -> u64;
        fn word(&self) -> String;
        fn echo(&self, text: &str) -> String;
        fn repeat(&self, text: &str, times: u32) -> Result<String, ProbeError>;
        fn work(&self) -> Result<u64, ProbeError>;
        fn panic(&self, message: &str);
        fn panic_elsewhere(&self, message: &str);
        fn hold(&self, socket: &str) -> u64;
        fn log(&self, level: &str, message: &str);
        fn misbehave(&self, action: &str) -> u64;
        fn later(&self) -> u64;
    }
}

fn a_call_of_a_missing_method_returns_not_implemented(mode: Mode) {
    let lab = running("lacking-method", mode);
    let probe: Handle<dyn newer::Probe> = lab.host().get(&lab.id()).unwrap();
    assert_eq!(probe.version().unwrap(), 1);
    let error = probe.later().unwrap_err();
    assert!(matches!(&error, CallError::NotImplemented { method, .. } if method == "later"), "{error}");
    assert_eq!(probe.echo("and on").unwrap(), "and on");
}

/// An interface with the same name and an incompatible method.
mod other {
    #[replug_api::interface]
    pub(super) trait Probe {
        fn version(&self) -> u64;
        fn increment(&self, by: String) -> u64;
    }
}

fn an_error_names_a_changed_interface(mode: Mode) {
    let lab = running("other-interface", mode);
    let error = lab.host().get::<dyn other::Probe>(&lab.id()).unwrap_err().to_string();
    assert!(error.contains("Probe") && error.contains("`increment`"), "{error}");
    let error = lab.host().get::<dyn Tally>(&lab.id()).unwrap_err().to_string();
    let expected = "does not implement `Tally`, which the host asks for; it implements `Probe`, `Everything`";
    assert_eq!(error, format!("{} {expected}", lab.id()));
    assert_eq!((lab.host().find::<dyn Tally>().len(), lab.host().find::<dyn Probe>().len()), (0, 1));
    lab.reload().unwrap();
    assert_eq!(lab.probe().version().unwrap(), 1);
}

fn a_replaced_instance_is_retired(mode: Mode) {
    let mut lab = Lab::in_mode("replaced", mode);
    // A thread that never ends would keep a library mapped that is to be unmapped.
    let thread = if lab.unloads() { "" } else { "thread=forever" };
    lab.install(misbehave(&format!("version=1 {thread}")));
    lab.start();
    lab.probe().increment(5).unwrap();
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    let outcome = match mode {
        Mode::Process => RetireOutcome::Ended,
        _ if lab.unloads() => RetireOutcome::Unloaded,
        _ => RetireOutcome::Kept,
    };
    assert_eq!(lab.retired(), (Generation(1), outcome));
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (2, 5));
}
