//! `unload = "verified"`: the code of a plugin runs on threads that its generation owns. The tests cover each way in
//! which a retired generation ends.

use super::crash::{crash, neighbour, only, two_in_flight_with};
use replug::{Generation, Handle, event::RetireOutcome, manifest::Mode};
use replug_runtime::crash::Attribution;
use replug_tests::{Hold, Lab, artifact, command::Dev, misbehave, recorder, wait::poll_until};
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

/// A drain timeout that is long enough for threads that are about to leave the library.
const LONG: &str = "[reload]\nunload = \"verified\"\ndrain_timeout = \"1m\"";
/// A short drain timeout, for threads that never leave the library.
const SHORT: &str = "[reload]\nunload = \"verified\"\ndrain_timeout = \"200ms\"";

/// A host that runs this artifact.
fn running(name: &str, artifact: Vec<u8>, manifest: &str) -> Lab {
    let mut lab = Lab::new(name);
    lab.install_with(artifact, manifest);
    lab.start();
    lab
}

/// Replaces the first version. Returns how it has ended.
fn replaced(lab: &mut Lab) -> RetireOutcome {
    lab.install(misbehave("version=2"));
    lab.reload().unwrap();
    let (generation, outcome) = lab.retired();
    assert_eq!(generation, Generation(1));
    assert_eq!(lab.probe().version(), Ok(2));
    outcome
}

/// Makes a version perform this action in a call. Returns how the version has ended.
fn ended_after(action: &str, manifest: &str) -> (Lab, RetireOutcome) {
    let mut lab = running(&format!("after-{action}"), misbehave("version=1"), manifest);
    lab.probe().misbehave(action).unwrap();
    let outcome = replaced(&mut lab);
    (lab, outcome)
}

#[test]
fn a_verified_unload_unmaps_a_library_while_its_callers_live() {
    let mut lab = running("unmapped", misbehave("version=1"), LONG);
    let mut unloaded = 0;
    for version in 2..=20 {
        assert_eq!(lab.probe().increment(5).unwrap(), 5 * (version - 1));
        lab.call("version", json!([])).unwrap();
        lab.install(misbehave(&format!("version={version}")));
        lab.reload().unwrap();
        let (generation, outcome) = lab.retired();
        assert_eq!(generation, Generation(version - 1));
        // A number on a stack may look like an address of the library: see `stopped_and_started`.
        if outcome == RetireOutcome::Unloaded {
            unloaded += 1;
        } else {
            assert_eq!(outcome, RetireOutcome::Threads);
        }
    }
    assert!(unloaded >= 17, "{unloaded} of 19");
    assert_eq!((lab.probe().version().unwrap(), lab.probe().value().unwrap()), (20, 95));
    let info = lab.host().info(&lab.id()).unwrap();
    assert_eq!(info.retired[&RetireOutcome::Unloaded], unloaded);
}

#[test]
fn thread_locals_of_calls_are_destroyed_before_the_library_is_unmapped() {
    let mut lab = Lab::new("thread-locals");
    let file = lab.path("destroyed");
    let directives = format!("version=1 destroyed={}", file.display());
    lab.install_with(misbehave(&directives), LONG);
    lab.start();
    lab.probe().misbehave("leave-a-thread-local").unwrap();
    assert!(!file.exists());
    assert_eq!(replaced(&mut lab), RetireOutcome::Unloaded);
    assert!(file.exists(), "the destructor has not run");
}

#[test]
fn a_panic_does_not_keep_a_library_from_being_unmapped() {
    let mut lab = running("panicked-and-unmapped", misbehave("version=1"), LONG);
    assert!(lab.probe().panic("before the end").is_err());
    assert_eq!(replaced(&mut lab), RetireOutcome::Unloaded);
    let error = lab.probe().panic("after it").unwrap_err().to_string();
    assert!(error.contains("after it (src/lib.rs:"), "{error}");
}

#[test]
fn a_thread_that_the_plugin_left_behind_keeps_its_library_mapped() {
    let (lab, outcome) = ended_after("leave-a-thread", SHORT);
    assert_eq!(outcome, RetireOutcome::Threads);
    assert_eq!(lab.host().info(&lab.id()).unwrap().retired, [(RetireOutcome::Threads, 1)].into());
}

#[test]
fn a_thread_local_of_a_thread_of_the_plugin_keeps_its_library_mapped() {
    let (_lab, outcome) = ended_after("leave-a-tls-destructor", LONG);
    assert_eq!(outcome, RetireOutcome::PinnedTls);
}

#[test]
fn a_library_linked_with_nodelete_stays_mapped() {
    let mut lab = running("nodelete", artifact::nodelete(misbehave("version=1")), LONG);
    lab.probe().increment(5).unwrap();
    assert_eq!(replaced(&mut lab), RetireOutcome::Nodelete);
    assert_eq!(lab.probe().value().unwrap(), 5);
}

#[test]
fn an_installed_signal_handler_keeps_the_plugins_library_mapped() {
    let (_lab, outcome) = ended_after("handle-sigusr2", LONG);
    assert_eq!(outcome, RetireOutcome::Kept);
    kill_process(getpid(), Signal::USR2).unwrap();
}

#[test]
fn a_generation_that_began_without_unload_stays_mapped() {
    let mut lab = Lab::new("began-without");
    lab.install_with(misbehave("version=1"), "");
    lab.start_watching();
    lab.probe().increment(5).unwrap();
    lab.set_manifest(&format!("binary = \"plugin.so\"\n{LONG}"));
    let mut outcomes = (2..).map(|version| {
        lab.install(misbehave(&format!("version={version}")));
        lab.reloaded();
        lab.retired().1
    });
    assert_eq!(outcomes.next(), Some(RetireOutcome::Kept));
    // Possibly the host loads the second version before it reads the new manifest.
    outcomes.find(|outcome| *outcome == RetireOutcome::Unloaded);
}

#[test]
fn a_nested_call_of_an_unloadable_plugin_does_not_wait_for_a_reload() {
    let mut lab = running("nested-in-reload", misbehave("version=1"), LONG);
    let hold = Hold::new(lab.dir());
    let inner = Arc::new(Mutex::new(Vec::new()));
    let (probe, results, socket) = (lab.probe(), inner.clone(), hold.path().to_owned());
    recorder::when(&lab.id(), "call back", move || {
        results.lock().unwrap().push(probe.hold(&socket).and_then(|_| probe.version()))
    });
    let probe = lab.probe();
    let outer = thread::spawn(move || probe.log("info", "call back"));
    let inside = hold.entered();
    lab.install(misbehave("version=2"));
    let reloading = lab.host().reload(&lab.id());
    // The state is handed over when the outer call has returned. Until then, calls of other threads wait.
    poll_until(|| Handle::within(&lab.probe(), Duration::from_millis(1)).version().is_err());
    drop(inside);
    outer.join().unwrap().unwrap();
    reloading.wait().unwrap();
    assert_eq!(*inner.lock().unwrap(), [Ok(1)]);
    assert_eq!(lab.retired(), (Generation(1), RetireOutcome::Unloaded));
    recorder::when(&lab.id(), "call back", || ());
}

#[test]
fn a_panic_hook_of_a_plugin_is_removed_with_its_library() {
    let (lab, mut host) = stopped_and_started("set-a-panic-hook");
    let answer = host.ask(&format!("call {} panic [\"afterwards\"]", lab.id()));
    assert!(answer["error"].as_str().is_some_and(|error| error.contains("afterwards")), "{answer}");
    assert!(host.leave().success());
}

#[test]
fn exit_handlers_of_a_plugin_run_when_its_library_is_unmapped() {
    let (_lab, host) = stopped_and_started("leave-something-for-the-exit");
    assert!(host.leave().success());
}

#[test]
fn an_abort_while_a_library_is_unmapped_names_its_plugin() {
    let lines = "[reload]\nunload = \"verified\"";
    let (lab, mut victim, [first, second]) =
        two_in_flight_with("aborts-unmapped", lines, ("abort-when-unmapped", ",stop"));
    drop(second);
    victim.wait().unwrap();
    drop(first);
    assert_eq!(only(&crash(&lab, &victim)), (neighbour(&lab), ".drop".into(), Attribution::Raised));
}

/// Makes a plugin perform this action in a call. Then stops the plugin, which unmaps its library, and starts the plugin
/// again. The host runs in a program of its own: if a panic hook or an exit handler outlived the library, its call
/// would crash that program, and not the test.
fn stopped_and_started(action: &str) -> (Lab, Dev) {
    let mut lab = Lab::in_mode(&format!("leaves-{action}"), Mode::InProcess);
    lab.install_with(misbehave("version=1"), LONG);
    let mut host = Dev::embedder(&lab, env!("CARGO_BIN_EXE_embedder"));
    let id = lab.id();
    // A number on the stack of a thread may look like an address of the library. Then the library stays mapped.
    for _ in 0..3 {
        host.ask(&format!("call {id} misbehave [\"{action}\"]"));
        host.send(&format!("stop {id}"));
        // The two events come in either order.
        let told = [(); 2].map(|()| host.wait_for_any(&["answer", "generation_retired"]));
        let answer = host.ask(&format!("start {id}"));
        assert!(answer["error"].is_null(), "{answer}");
        if told.iter().any(|event| event["outcome"] == "unloaded") {
            return (lab, host);
        }
        assert!(told.iter().any(|event| event["outcome"] == "threads"), "{told:?}");
    }
    panic!("no library was unmapped");
}
