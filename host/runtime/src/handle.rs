//! The handles of callers:
//!
//! * [`Handle`] is typed by an interface.
//! * [`TimedHandle`] is a [`Handle`] with a deadline for each call.
//! * [`DynHandle`] finds methods by name.
//! * [`Method`] is a method that a [`DynHandle`] has found, and [`TypedMethod`] is one whose types were compared.
//!
//! Each handle reaches the newest generation, keeps no generation alive between calls, and can be shared and
//! cloned.

mod method;
#[cfg(test)]
mod tests;
mod timer;

pub use method::{Method, TypedMethod};

use crate::{
    deadline::Deadline,
    load::in_process::Cancellation,
    registry::{Entry, EntryCaller, TimedCaller},
};
use method::{finished, read_raw, read_value};
use replug_api::{
    CallError,
    abi::Encoding,
    call::{Bound, Interface},
    describe,
};
use replug_model::{
    id::{Generation, PluginId},
    metrics::{CallEnd, Stopwatch},
};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use std::{
    any::Any,
    fmt,
    ops::Deref,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use timer::Timer;
use tokio::runtime;

/// A caller's reference to a plugin, typed by one of the plugin's interfaces: `Handle<dyn Calculator>`.
///
/// A handle has the interface's methods, which return `Result<T, CallError<E>>`. The calling thread makes the call
/// itself, without a lock, a channel or an executor. A clone is another handle to the same plugin.
pub struct Handle<I: Interface + ?Sized> {
    client: I::Client<EntryCaller>,
    bound: Bound<I, EntryCaller>,
}

impl<I: Interface + ?Sized> Handle<I> {
    /// For the crate `replug` only.
    #[doc(hidden)]
    pub fn new(bound: Bound<I, EntryCaller>) -> Self {
        Self { client: bound.clone().into(), bound }
    }

    /// The plugin's id: `Handle::id(&handle)`. This is an associated function, because a method would hide a method of
    /// the same name in the interface.
    pub fn id(this: &Self) -> &PluginId {
        &this.bound.caller().entry.id
    }

    /// The generation that the next call will reach, if one serves: `Handle::generation(&handle)`.
    pub fn generation(this: &Self) -> Option<Generation> {
        this.bound.caller().entry.live().map(|live| live.generation)
    }

    /// The same plugin, with a deadline for each call: `Handle::within(&handle, limit).add(1.0, 2.0)`.
    ///
    /// The limit replaces `call_timeout` of the manifest. If a call into a plugin in a child process takes longer, it
    /// returns [`CallError::Timeout`]. A plugin in the host's process runs on the calling thread, which the host cannot
    /// interrupt. For such a plugin, the deadline only bounds how long a call waits before it begins. A caller that
    /// must continue at the deadline in any case uses [`DynHandle::invoke_json`] with an [`Invocation::timeout`], and
    /// awaits the call.
    pub fn within(this: &Self, limit: Duration) -> TimedHandle<I> {
        TimedHandle::new(TimedCaller::bound(&this.bound, limit))
    }
}

/// A [`Handle`] whose calls have a deadline of their own: see [`Handle::within`].
pub struct TimedHandle<I: Interface + ?Sized> {
    client: I::Client<TimedCaller>,
    bound: Bound<I, TimedCaller>,
}

impl<I: Interface + ?Sized> TimedHandle<I> {
    fn new(bound: Bound<I, TimedCaller>) -> Self {
        Self { client: bound.clone().into(), bound }
    }
}

impl<I: Interface + ?Sized> Deref for TimedHandle<I> {
    type Target = I::Client<TimedCaller>;

    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl<I: Interface + ?Sized> fmt::Debug for TimedHandle<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimedCaller { caller, after } = self.bound.caller();
        write!(
            f,
            "TimedHandle<{}>({}, {})",
            I::EXPORT.name,
            caller.entry.id,
            humantime::format_duration(*after)
        )
    }
}

// Not derived, for the reason given at `impl Clone for Handle`.
impl<I: Interface + ?Sized> Clone for TimedHandle<I> {
    fn clone(&self) -> Self {
        Self::new(self.bound.clone())
    }
}

impl<I: Interface + ?Sized> Deref for Handle<I> {
    type Target = I::Client<EntryCaller>;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.client
    }
}

impl<I: Interface + ?Sized> fmt::Debug for Handle<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle<{}>({})", I::EXPORT.name, self.bound.caller().entry.id)
    }
}

// A derived `Clone` would require `I: Clone`. Without an implementation, `handle.clone()` would dereference the
// handle and clone its client.
impl<I: Interface + ?Sized> Clone for Handle<I> {
    fn clone(&self) -> Self {
        Self::new(self.bound.clone())
    }
}

/// A caller's reference to a plugin. It finds methods by name, and passes arguments as JSON.
#[derive(Clone)]
pub struct DynHandle {
    entry: Arc<Entry>,
    runtime: runtime::Handle,
}

impl fmt::Debug for DynHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DynHandle({})", self.id())
    }
}

impl DynHandle {
    /// For the crate `replug` only.
    #[doc(hidden)]
    pub fn new(entry: Arc<Entry>, runtime: runtime::Handle) -> Self {
        Self { entry, runtime }
    }

    /// The plugin's id.
    pub fn id(&self) -> &PluginId {
        &self.entry.id
    }

    /// The generation that the next call will reach, if one serves.
    pub fn generation(&self) -> Option<Generation> {
        self.entry.live().map(|live| live.generation)
    }

    /// The interfaces of the serving generation; empty if no generation serves.
    pub fn interfaces(&self) -> Vec<describe::Interface> {
        self.entry.live().map(|live| live.interfaces().cloned().collect()).unwrap_or_default()
    }

    /// Prepares a call. `method` is the method's name, or `Interface.name` if two interfaces have a method of that
    /// name. `arguments` is a JSON object by parameter name, a JSON array by position, or null if there are no
    /// arguments.
    ///
    /// The call begins when the [`Invocation`] is awaited, or when [`Invocation::wait`] runs it.
    pub fn invoke_json(&self, method: impl Into<String>, arguments: Value) -> Invocation {
        self.invoke_raw(method, to_raw_value(&arguments).expect("a JSON value can be written"))
    }

    /// Prepares a call like [`DynHandle::invoke_json`], with arguments that are JSON text. The host does not parse
    /// them: only the plugin does.
    pub fn invoke_raw(&self, method: impl Into<String>, arguments: Box<RawValue>) -> Invocation {
        Invocation { handle: self.clone(), method: method.into(), arguments, timeout: None }
    }

    /// Finds a method once, for many calls. `method` is as for [`DynHandle::invoke_json`]. Waits if the state of the
    /// plugin is being handed over.
    ///
    /// # Errors
    ///
    /// * [`CallError::Unknown`] if there is no such method; the message suggests the method with the most similar name
    /// * [`CallError::NotRunning`], [`CallError::Restarting`] if no generation serves
    /// * [`CallError::TooDeep`]
    pub fn method(&self, method: impl Into<String>) -> Result<Method, CallError> {
        Method::find(self.entry.clone(), method.into())
    }
}

/// A call by name that has not begun.
#[derive(Debug)]
#[must_use = "await it, or run it with `wait`"]
pub struct Invocation {
    handle: DynHandle,
    method: String,
    arguments: Box<RawValue>,
    timeout: Option<Duration>,
}

impl Invocation {
    /// How long the call may take. Replaces `call_timeout` of the manifest.
    ///
    /// If the call is awaited, the caller gets [`CallError::Timeout`] at the deadline, wherever the plugin runs. In the
    /// host's process, the call is then marked as cancelled, which the plugin can observe. The call keeps its thread
    /// until it returns. With [`Invocation::wait`], a plugin in the host's process runs on the calling thread, and the
    /// deadline only bounds how long the call waits before it begins.
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
        self.run(deadline, &RunningCall::default(), read_value)
    }

    /// Like [`Invocation::wait`], but the result stays JSON text. A parsed [`Value`] takes more memory than its text:
    /// about 17 times as much for lists of numbers, short strings or records, and up to 84 times as much for objects
    /// with one short entry each. The same factors apply to arguments while the plugin reads them. A call over HTTP
    /// returns the text. A typed handle to a plugin in this process uses no JSON.
    ///
    /// # Errors
    ///
    /// * Those of [`Invocation::wait`]
    pub fn wait_raw(self) -> Result<Box<RawValue>, CallError<Value>> {
        let deadline = self.timeout.map(Deadline::after);
        self.run(deadline, &RunningCall::default(), read_raw)
    }

    fn run<T>(
        self,
        deadline: Option<Deadline>,
        running: &RunningCall,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, CallError<Value>> {
        let Some(deadline) = deadline else { return self.call(running, read) };
        let id = self.handle.id().clone();
        deadline.hold(&id, || running.calls.during(RunningCall::CALL, || self.call(running, read)))
    }

    fn call<T>(
        self,
        running: &RunningCall,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
    ) -> Result<T, CallError<Value>> {
        let Self { handle: DynHandle { entry, .. }, method, arguments, .. } = self;
        let (pin, _rest) = entry.pin().map_err(CallError::widen)?;
        let live = pin.live();
        running.generation.store(live.generation.0, Ordering::Relaxed);
        let found = live.method(&method).map_err(CallError::Unknown)?;
        pin.mark(found);
        let watch = Stopwatch::start();
        let outcome = found.invoke(Encoding::Json, arguments.get().as_bytes());
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
            runtime.spawn_blocking(move || self.run(deadline, &running, read_value))
        };
        InvocationFuture { plugin, method, call, running, late }
    }
}

/// The state that a call by name shares with the task that awaits it.
#[derive(Debug, Default)]
struct RunningCall {
    /// The generation in which the call runs. Before the call begins, the generation that served when it was requested.
    generation: AtomicU64,
    calls: Arc<Cancellation>,
}

impl RunningCall {
    /// The number of the only call.
    const CALL: u64 = 1;
}

/// The result of a call by name that runs on a thread of the host, as a future.
#[derive(Debug)]
pub struct InvocationFuture {
    plugin: String,
    method: String,
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
