//! The handles of callers:
//!
//! * [`Handle`] is typed by an interface.
//! * [`TimedHandle`] is a [`Handle`] with a deadline for each call.
//! * [`DynHandle`] finds methods by name.
//! * [`Method`] is a method that a [`DynHandle`] has found.
//! * [`TypedMethod`] is a [`Method`] whose types were compared with the caller's Rust types.
//!
//! Each handle reaches the newest generation, keeps no generation alive between calls, and can be shared and
//! cloned.

mod encoded;
mod invocation;
mod method;
mod timer;

pub use invocation::{Invocation, InvocationFuture};
pub use method::{Method, TypedMethod};

use crate::registry::{Entry, EntryCaller, TimedCaller};
use invocation::Arguments;
use replug_api::{
    CallError,
    call::{Bound, Interface},
    describe,
};
use replug_model::id::{Generation, PluginId};
use serde_json::{Value, value::RawValue};
use std::{fmt, ops::Deref, sync::Arc, time::Duration};
use tokio::runtime;

/// A caller's reference to a plugin, typed by one of the plugin's interfaces: `Handle<dyn Calculator>`.
///
/// A handle has the interface's methods, which return `Result<T, CallError<E>>`. A call into a plugin in this process
/// runs on the calling thread, without a lock, a channel or an executor, unless the plugin's manifest says
/// `unload = "verified"`. A clone is another handle to the same plugin.
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
    /// returns [`CallError::Timeout`]. The host cannot interrupt a call into a plugin in its own process. For such a
    /// plugin, the deadline only bounds how long a call waits before it begins. A caller that must continue at the
    /// deadline in any case uses [`DynHandle::invoke_json`] with an [`Invocation::timeout`], and awaits the call.
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
        self.invocation(method.into(), Arguments::Value(arguments))
    }

    /// Prepares a call like [`DynHandle::invoke_json`], with arguments that are JSON text. The host does not parse
    /// them: only the plugin does.
    pub fn invoke_raw(&self, method: impl Into<String>, arguments: Box<RawValue>) -> Invocation {
        self.invocation(method.into(), Arguments::Text(arguments))
    }

    fn invocation(&self, method: String, arguments: Arguments) -> Invocation {
        Invocation { handle: self.clone(), method, arguments, timeout: None }
    }

    /// Finds a method once, for many calls. `method` is as for [`DynHandle::invoke_json`]. Waits if the state of the
    /// plugin is being handed over.
    ///
    /// # Errors
    ///
    /// * [`CallError::Unknown`] if there is no such method; the message suggests the method with the most similar name
    /// * [`CallError::NotRunning`], [`CallError::Restarting`] if no generation serves
    /// * [`CallError::TooDeep`] if too many calls are nested on this thread
    pub fn method(&self, method: impl Into<String>) -> Result<Method, CallError> {
        Method::find(self.entry.clone(), method.into())
    }
}
