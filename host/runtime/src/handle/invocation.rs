//! Calls by name: the prepared call, and the future of its result.

#[cfg(test)]
mod tests;

use super::{
    DynHandle,
    encoded::{SHORT, read_raw, read_value, write_json},
    method::finished,
    timer::Timer,
};
use crate::{deadline::Deadline, load::in_process::Cancellation};
use replug_api::{CallError, abi::Encoding};
use replug_model::metrics::{CallEnd, Stopwatch};
use serde_json::{Value, value::RawValue};
use std::{
    any::Any,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

/// A call by name that has not begun.
#[derive(Debug)]
#[must_use = "await it, or run it with `wait`"]
pub struct Invocation {
    pub(super) handle: DynHandle,
    pub(super) method: String,
    pub(super) arguments: Arguments,
    pub(super) timeout: Option<Duration>,
}

/// The arguments of a call by name.
#[derive(Debug)]
pub(super) enum Arguments {
    Value(Value),
    Text(Box<RawValue>),
}

impl Invocation {
    /// How long the call may take. Replaces `call_timeout` of the manifest.
    ///
    /// If the call is awaited, the caller gets [`CallError::Timeout`] at the deadline, wherever the plugin runs. In the
    /// host's process, the call is then marked as cancelled, which the plugin can observe. The call keeps its thread
    /// until it returns. With [`Invocation::wait`], the deadline of a call into a plugin in the host's process only
    /// bounds how long the call waits before it begins.
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: Some(limit), ..self }
    }

    /// Makes the call on the calling thread.
    ///
    /// # Errors
    ///
    /// * [`CallError::Plugin`] with the method's own error as JSON
    /// * [`CallError::Unknown`] if there is no such method; the message suggests the method with the most similar name
    /// * [`CallError::BadArguments`] if an argument is wrong or missing, or there are too many; the message names the
    ///   argument
    /// * [`CallError::Panicked`], [`CallError::NotRunning`], [`CallError::BadResult`], [`CallError::TooDeep`]
    /// * [`CallError::Crashed`], [`CallError::Timeout`], [`CallError::Restarting`], [`CallError::NoConnection`] if the
    ///   plugin runs in a child process
    pub fn wait(self) -> Result<Value, CallError<Value>> {
        let deadline = self.timeout.map(Deadline::after);
        self.run(deadline, None, read_value)
    }

    /// Like [`Invocation::wait`], but the result stays JSON text. A parsed [`Value`] takes more memory than its text:
    /// about 17 times as much for lists of numbers, short strings or objects, and up to 84 times as much if each object
    /// has only one short entry. The same factors apply to arguments while the plugin reads them. A call over HTTP
    /// returns the text. A typed handle to a plugin in this process uses no JSON.
    ///
    /// # Errors
    ///
    /// * Those of [`Invocation::wait`]
    pub fn wait_raw(self) -> Result<Box<RawValue>, CallError<Value>> {
        let deadline = self.timeout.map(Deadline::after);
        self.run(deadline, None, read_raw)
    }

    fn run<T>(
        self,
        deadline: Option<Deadline>,
        running: Option<&RunningCall>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, CallError<Value>> {
        let Some(deadline) = deadline else { return self.call(running, read) };
        let id = self.handle.id().clone();
        deadline.hold(&id, || match running {
            Some(running) => running.calls.during(RunningCall::CALL, || self.call(Some(running), read)),
            None => self.call(None, read),
        })
    }

    fn call<T>(
        self,
        running: Option<&RunningCall>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, CallError<Value>> {
        let Self { handle: DynHandle { entry, .. }, method, arguments, .. } = self;
        let (pin, _wait) = entry.pin().map_err(CallError::widen)?;
        let live = pin.live();
        if let Some(running) = running {
            running.generation.store(live.generation.0, Ordering::Relaxed);
        }
        let found = live.method(&method).map_err(CallError::Unknown)?;
        pin.mark(found);
        let mut buffer = [0; SHORT];
        let (written, text);
        let arguments = match arguments {
            // The value is dropped before the call: it may take much more memory than its text.
            Arguments::Value(value) => {
                written = write_json(&value, &mut buffer);
                &*written
            }
            Arguments::Text(given) => {
                text = given;
                text.get().as_bytes()
            }
        };
        let watch = Stopwatch::start();
        let outcome = found.invoke(Encoding::Json, arguments);
        let took = watch.stop();
        let result = finished((live, found.name()), outcome, read, read_value);
        let end = CallEnd::of(&result);
        entry.note_time(took, end, live);
        pin.count(end);
        result
    }
}

impl IntoFuture for Invocation {
    type Output = Result<Value, CallError<Value>>;
    type IntoFuture = InvocationFuture;

    /// Makes the call on a thread of the host that may block. The errors are those of [`Invocation::wait`], and:
    ///
    /// * [`CallError::Timeout`] if the call has a [timeout](Invocation::timeout) and does not return in time, wherever
    ///   the plugin runs
    /// * [`CallError::NotRunning`] if the host shuts down before the call has begun
    /// * [`CallError::BadResult`] if the host itself panicked during the call
    fn into_future(self) -> InvocationFuture {
        let plugin = self.handle.entry.id.to_string();
        let method = self.method.clone();
        let runtime = self.handle.runtime.clone();
        let deadline = self.timeout.map(Deadline::after);
        let generation = self.handle.generation().map_or(0, |generation| generation.0);
        let running = Arc::new(RunningCall { generation: generation.into(), ..RunningCall::default() });
        let late = deadline.map(|deadline| (deadline, Timer::start(&runtime, deadline.until)));
        let call = {
            let running = running.clone();
            runtime.spawn_blocking(move || self.run(deadline, Some(&running), read_value))
        };
        InvocationFuture { plugin, method, call, running, late }
    }
}

/// The state that a call by name shares with the task that awaits it.
#[derive(Debug, Default)]
struct RunningCall {
    /// The generation in which the call runs. Before the call begins, the generation that served when the call was
    /// requested.
    generation: AtomicU64,
    calls: Arc<Cancellation>,
}

impl RunningCall {
    /// The number of this call in `calls`, which has no other call.
    const CALL: u64 = 1;
}

/// The result of a call by name that runs on a thread of the host, as a future.
#[derive(Debug)]
pub struct InvocationFuture {
    plugin: String,
    pub(super) method: String,
    call: tokio::task::JoinHandle<Result<Value, CallError<Value>>>,
    running: Arc<RunningCall>,
    late: Option<(Deadline, Timer)>,
}

impl Future for InvocationFuture {
    type Output = Result<Value, CallError<Value>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(joined) = Pin::new(&mut self.call).poll(context) {
            return Poll::Ready(joined.unwrap_or_else(|error| {
                let (plugin, method) = (self.plugin.clone(), self.method.clone());
                Err(match error.try_into_panic() {
                    Ok(panic) => {
                        let message =
                            format!("the host panicked during the call: {}", panic_message(&*panic));
                        CallError::BadResult { plugin, method, message }
                    }
                    Err(_) => CallError::NotRunning { plugin, reason: "the host has shut down".into() },
                })
            }));
        }
        let Some((deadline, late)) = &mut self.late else { return Poll::Pending };
        if late.poll(deadline.until, context).is_pending() {
            return Poll::Pending;
        }
        let after_ms = deadline.after_ms();
        self.running.calls.cancel(RunningCall::CALL);
        // If no thread has begun the call, `abort` prevents it from beginning.
        self.call.abort();
        let (plugin, method) = (self.plugin.clone(), self.method.clone());
        let generation = self.running.generation.load(Ordering::Relaxed);
        Poll::Ready(Err(CallError::Timeout { plugin, generation, method, after_ms }))
    }
}

/// The message of a panic.
fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
