//! Tests the types of handles, and calls by name that outlive their host.

use super::*;
use crate::handle::Handle;
use replug_api::call::Interface;
use std::sync::mpsc;
use tokio::runtime;

/// Compiles only if the clone of a handle is a handle, for every interface.
fn _clone_is_a_handle<I: Interface + ?Sized>(handle: &Handle<I>) -> Handle<I> {
    handle.clone()
}

#[tokio::test]
async fn a_panic_of_the_host_is_reported_with_its_message() {
    let call = tokio::task::spawn_blocking(|| panic!("index {}", 7));
    let (plugin, method) = ("a.b".into(), "add".into());
    let future = InvocationFuture { plugin, method, call, running: Arc::default(), late: None };
    let error = future.await.unwrap_err();
    assert!(matches!(error, CallError::BadResult { .. }), "{error}");
    assert!(error.to_string().contains("the host panicked during the call: index 7"), "{error}");
}

/// A call that began before its host shut down, with this time limit. The call returns when the returned sender is
/// dropped.
fn begun(limit: Duration) -> (InvocationFuture, mpsc::Sender<()>) {
    let host = runtime::Builder::new_multi_thread().enable_time().build().unwrap();
    let (release, released) = mpsc::channel();
    let (begin, begun) = mpsc::channel();
    let call = host.spawn_blocking(move || {
        begin.send(()).unwrap();
        let _: Result<(), _> = released.recv();
        Ok(Value::from("done"))
    });
    begun.recv().unwrap();
    let deadline = Deadline::after(limit);
    let late = Some((deadline, Timer::start(host.handle(), deadline.until)));
    let (plugin, method) = ("a.b".into(), "add".into());
    host.shutdown_background();
    (InvocationFuture { plugin, method, call, running: Arc::default(), late }, release)
}

/// Awaits the call on a runtime other than the host's.
fn awaited(future: InvocationFuture) -> Result<Value, CallError<Value>> {
    runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn a_deadline_outlives_the_host() {
    let (future, _held) = begun(Duration::from_millis(50));
    let error = awaited(future).unwrap_err();
    assert!(matches!(error, CallError::Timeout { after_ms: 50, .. }), "{error}");
}

#[test]
fn a_running_call_returns_its_result_after_a_shutdown() {
    let (future, held) = begun(Duration::from_secs(600));
    drop(held);
    assert_eq!(awaited(future).unwrap(), "done");
}
