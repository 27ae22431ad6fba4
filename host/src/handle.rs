//! What a caller holds: [`Handle`], typed by an interface, and [`DynHandle`], which finds methods by name.
//!
//! Both always reach the newest generation, keep no generation alive between calls, and may be shared and cloned.

use crate::{
    id::{Generation, PluginId},
    load::{Instance, Method},
    registry::{Entry, EntryCaller, lost, panicked},
    suggest,
};
use replug_api::{
    CallError,
    abi::{Encoding, Outcome, Refusal},
    call::Interface,
    describe,
};
use serde_json::Value;
use std::{any::Any, fmt, ops::Deref, sync::Arc};
use tokio::runtime;

/// A plugin, seen as one of its interfaces: `Handle<dyn Calculator>`.
///
/// It has the interface's methods, which return `Result<T, CallError<E>>`. The calling thread makes the call itself,
/// without lock, channel or executor. A clone is another handle to the same plugin.
pub struct Handle<I: Interface + ?Sized> {
    client: I::Client<EntryCaller>,
    caller: EntryCaller,
}

impl<I: Interface + ?Sized> Handle<I> {
    pub(crate) fn new(caller: EntryCaller) -> Self {
        Self { client: caller.clone().into(), caller }
    }

    /// The plugin's id. Not a method, lest it hide one of the interface's: `Handle::id(&handle)`.
    pub fn id(this: &Self) -> &PluginId {
        &this.caller.entry.id
    }

    /// The generation that the next call will reach, if one serves: `Handle::generation(&handle)`.
    pub fn generation(this: &Self) -> Option<Generation> {
        this.caller.entry.live().map(|live| live.generation)
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
        write!(f, "Handle<{}>({})", I::EXPORT.name, self.caller.entry.id)
    }
}

// Derived, it would ask for `I: Clone`; without it, `handle.clone()` would reach through the handle and clone its client.
impl<I: Interface + ?Sized> Clone for Handle<I> {
    fn clone(&self) -> Self {
        Self::new(self.caller.clone())
    }
}

/// A plugin whose methods are found by name, with arguments as JSON.
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
    pub(crate) fn new(entry: Arc<Entry>, runtime: runtime::Handle) -> Self {
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

    /// The interfaces of the generation that serves; empty if none does.
    pub fn interfaces(&self) -> Vec<describe::Interface> {
        self.entry.live().map(|live| live.instance.interfaces().cloned().collect()).unwrap_or_default()
    }

    /// Prepares a call. `method` is its name, or `Interface.name` where two interfaces have a method of that name;
    /// `arguments` is an object by parameter name, an array by position, or null for none.
    ///
    /// Nothing happens until the [`Invocation`] is awaited, or run with [`Invocation::wait`].
    pub fn invoke_json(&self, method: impl Into<String>, arguments: Value) -> Invocation {
        Invocation { handle: self.clone(), method: method.into(), arguments }
    }
}

/// A call by name that has not begun.
#[derive(Debug)]
#[must_use = "await it, or run it with `wait`"]
pub struct Invocation {
    handle: DynHandle,
    method: String,
    arguments: Value,
}

impl Invocation {
    /// Makes the call on the calling thread.
    ///
    /// # Errors
    ///
    /// * [`CallError::Plugin`] with the method's own error as JSON
    /// * [`CallError::Unknown`] if there is no such method; it names the nearest
    /// * [`CallError::BadArguments`] if an argument is wrong, missing or too many; it names it
    /// * [`CallError::Panicked`], [`CallError::NotRunning`], [`CallError::BadResult`], [`CallError::TooDeep`]
    /// * [`CallError::Crashed`], [`CallError::Timeout`], [`CallError::Restarting`] of a plugin in another process
    pub fn wait(self) -> Result<Value, CallError<Value>> {
        let Self { handle: DynHandle { entry, .. }, method, arguments } = self;
        let pin = entry.pin().map_err(CallError::widen)?;
        let live = pin.live();
        let found = find(&live.instance, &method).map_err(CallError::Unknown)?;
        let name = &found.interface.methods[found.index as usize].name;
        let arguments = serde_json::to_vec(&arguments).expect("a JSON value can be written");
        let invoke = found.bound.export.invoke;
        pin.mark(&found.interface.name, found.index);
        let outcome = invoke(found.bound.object, found.index, Encoding::Json, arguments.as_slice().into());
        pin.count_call();
        if !matches!(outcome, Outcome::Returned(_) | Outcome::Refused(Refusal::BadArguments(_))) {
            pin.count_failure();
        }
        let read = |bytes: &[u8]| {
            serde_json::from_slice(bytes).map_err(|error| CallError::BadResult {
                plugin: entry.id.to_string(),
                method: name.clone(),
                message: format!("it is no JSON: {error}"),
            })
        };
        match outcome {
            Outcome::Returned(bytes) => read(&bytes),
            Outcome::Refused(Refusal::Error(bytes)) => Err(CallError::Plugin(read(&bytes)?)),
            Outcome::Refused(Refusal::BadArguments(message)) => Err(CallError::BadArguments {
                plugin: entry.id.to_string(),
                method: name.clone(),
                message: message.into(),
            }),
            Outcome::Refused(Refusal::BadResult(message)) => Err(CallError::BadResult {
                plugin: entry.id.to_string(),
                method: name.clone(),
                message: message.into(),
            }),
            Outcome::Panicked(panic) => Err(panicked(live, name, panic).widen()),
            Outcome::Lost => Err(lost(live, name).widen()),
        }
    }
}

impl IntoFuture for Invocation {
    type Output = Result<Value, CallError<Value>>;
    type IntoFuture = InvocationFuture;

    /// Makes the call on a thread of the host's that may block. The errors are those of [`Invocation::wait`], and
    ///
    /// * [`CallError::NotRunning`] if the host shuts down before the call has begun
    /// * [`CallError::BadResult`] if the host itself panicked on the way
    fn into_future(self) -> InvocationFuture {
        let plugin = self.handle.entry.id.to_string();
        let method = self.method.clone();
        InvocationFuture {
            plugin,
            method,
            running: self.handle.runtime.clone().spawn_blocking(|| self.wait()),
        }
    }
}

/// A call by name that runs.
#[derive(Debug)]
pub struct InvocationFuture {
    plugin: String,
    method: String,
    running: tokio::task::JoinHandle<Result<Value, CallError<Value>>>,
}

impl Future for InvocationFuture {
    type Output = Result<Value, CallError<Value>>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.running).poll(context).map(|joined| {
            joined.unwrap_or_else(|error| {
                let (plugin, method) = (self.plugin.clone(), self.method.clone());
                Err(match error.try_into_panic() {
                    Ok(panic) => {
                        let message = format!("the host panicked on the way: {}", said(&*panic));
                        CallError::BadResult { plugin, method, message }
                    }
                    Err(_) => CallError::NotRunning { plugin, reason: "the host has shut down".into() },
                })
            })
        })
    }
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text")
}

fn find<'a>(instance: &'a Instance, wanted: &str) -> Result<Method<'a>, String> {
    let name = |method: &Method<'a>| method.interface.methods[method.index as usize].name.as_str();
    let mut found: Vec<_> = match wanted.split_once('.') {
        Some((interface, plain)) => instance
            .methods()
            .filter(|method| method.interface.name == interface && name(method) == plain)
            .collect(),
        None => instance.methods().filter(|method| name(method) == wanted).collect(),
    };
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let known: Vec<_> = instance.methods().map(|method| name(&method)).collect();
            Err(format!("no method `{wanted}`{}", suggest::among(wanted, known.into_iter())))
        }
        _ => {
            let which: Vec<_> =
                found.iter().map(|method| format!("`{}.{wanted}`", method.interface.name)).collect();
            Err(format!("two interfaces have a method `{wanted}`: write {}", which.join(" or ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only if the clone of a handle is a handle, whatever the interface.
    fn _clone_is_a_handle<I: Interface + ?Sized>(handle: &Handle<I>) -> Handle<I> {
        handle.clone()
    }

    #[tokio::test]
    async fn a_panic_of_the_host_s_own_is_told_with_its_words_and_not_as_a_shutdown() {
        let running = tokio::task::spawn_blocking(|| panic!("so it {}", "goes"));
        let call = InvocationFuture { plugin: "a.b".into(), method: "add".into(), running };
        let error = call.await.unwrap_err();
        assert!(matches!(error, CallError::BadResult { .. }), "{error}");
        assert!(error.to_string().contains("the host panicked on the way: so it goes"), "{error}");
    }
}
