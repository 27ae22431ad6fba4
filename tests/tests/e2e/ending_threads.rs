//! Calls from destructors of thread-local values. Each call succeeds as usual, or fails with `NotRunning`.

use replug::{CallError, DynHandle, Handle, manifest::Mode};
use replug_tests::{Lab, Probe, lab, misbehave};
use serde_json::json;
use std::{cell::RefCell, fmt::Debug, sync::mpsc, thread, time::Duration};

const LONG: Duration = Duration::from_secs(600);

/// Runs a function when the thread that owns this value ends.
struct AtTheEnd(Box<dyn Fn()>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        (self.0)();
    }
}

thread_local! {
    static FIRST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
    static LAST: RefCell<Option<AtTheEnd>> = const { RefCell::new(None) };
}

/// Makes one call of each kind, and returns the results.
fn calls(probe: &Handle<dyn Probe>, by_name: &DynHandle) -> Vec<Result<String, String>> {
    fn told<T: ToString, E: Debug>(result: Result<T, CallError<E>>) -> Result<String, String> {
        match result {
            Ok(value) => Ok(value.to_string()),
            Err(CallError::Panicked { message, .. }) => Ok(message),
            Err(CallError::NotRunning { reason, .. }) => Err(reason),
            Err(other) => panic!("{other:?}"),
        }
    }
    vec![
        told(probe.version()),
        told(Handle::within(probe, LONG).version()),
        told(probe.panic("so it goes").map(|()| "nothing")),
        told(by_name.invoke_json("version", json!([])).wait()),
        told(by_name.invoke_json("version", json!([])).timeout(LONG).wait()),
        told(by_name.invoke_json("panic", json!(["so it goes"])).timeout(LONG).wait()),
    ]
}

fn check_calls_from_destructors(mode: Mode) {
    let mut lab = Lab::in_mode("ending-thread", mode);
    lab.install(misbehave("version=1"));
    lab.start();
    let (probe, by_name) = (lab.probe(), lab.host().plugin(&lab.id()).unwrap());
    let (told, results) = mpsc::channel();
    let work = move || {
        let again = || {
            let (told, probe, by_name) = (told.clone(), probe.clone(), by_name.clone());
            AtTheEnd(Box::new(move || told.send(calls(&probe, &by_name)).unwrap()))
        };
        // The first call creates the thread-local values of `replug-runtime`, after `FIRST` is set and before `LAST` is
        // set. When the thread ends, these values are destroyed between `FIRST` and `LAST`. So one of the two
        // destructors makes its calls before the values are destroyed, and one afterwards.
        FIRST.set(Some(again()));
        told.send(calls(&probe, &by_name)).unwrap();
        LAST.set(Some(again()));
    };
    thread::spawn(work).join().unwrap();
    let usual = ["1", "1", "so it goes", "1", "1", "so it goes"].map(|it| Ok(it.to_owned()));
    assert_eq!(results.recv().unwrap(), usual);
    for at_the_end in results.iter().take(2) {
        assert_eq!(at_the_end.len(), usual.len());
        for (result, usual) in at_the_end.into_iter().zip(&usual) {
            match &result {
                Ok(_) => assert_eq!(&result, usual),
                Err(reason) => assert_eq!(reason, "the calling thread is exiting"),
            }
        }
    }
}

#[test]
fn in_process_calls_from_thread_local_destructors_do_not_hang() {
    check_calls_from_destructors(Mode::InProcess);
}

#[test]
fn unloadable_calls_from_thread_local_destructors_do_not_hang() {
    lab::unloading(|| check_calls_from_destructors(Mode::InProcess));
}

#[test]
fn child_process_calls_from_thread_local_destructors_do_not_hang() {
    check_calls_from_destructors(Mode::Process);
}

#[test]
fn a_first_call_in_a_thread_local_destructor_returns() {
    let lab = Lab::running("first-at-the-end");
    let (probe, by_name) = (lab.probe(), lab.host().plugin(&lab.id()).unwrap());
    let (told, results) = mpsc::channel();
    let work =
        move || FIRST.set(Some(AtTheEnd(Box::new(move || told.send(calls(&probe, &by_name)).unwrap()))));
    thread::spawn(work).join().unwrap();
    assert_eq!(results.recv().unwrap().len(), 6);
}
