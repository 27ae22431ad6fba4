//! How a host calls a plugin: the error, and the interface between a generated client and the host.

use crate::abi::{BoundInterface, Edge, InterfaceExport, Object, Panic};
use std::{convert::Infallible, fmt, marker::PhantomData};

/// Why a call returned no result. `E` is the error type of the method itself.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E = Infallible> {
    /// The method ran and returned its own error.
    #[error("{0}")]
    Plugin(E),
    /// The method panicked. The plugin keeps running, and must itself repair data that the method has changed only in
    /// part.
    #[error("`{method}` of {plugin} g{generation} panicked: {message} ({location})")]
    Panicked {
        /// The plugin's id.
        plugin: String,
        /// The generation that ran the call.
        generation: u64,
        /// The method.
        method: String,
        /// The panic's message.
        message: String,
        /// The place of the panic, as `file:line:column`.
        location: String,
    },
    /// The plugin was built before the method was added to the interface.
    #[error(
        "{plugin} g{generation} has no method `{method}`: rebuild it with the current version of the interface"
    )]
    NotImplemented {
        /// The plugin's id.
        plugin: String,
        /// The generation of the call.
        generation: u64,
        /// The method.
        method: String,
    },
    /// The plugin is not running.
    #[error("{plugin} is not running: {reason}")]
    NotRunning {
        /// The plugin's id.
        plugin: String,
        /// The reason, and what to do.
        reason: String,
    },
    /// There is no plugin, interface or method with that name.
    #[error("{0}")]
    Unknown(String),
    /// The arguments do not fit the method.
    #[error("`{method}` of {plugin}: {message}")]
    BadArguments {
        /// The plugin's id.
        plugin: String,
        /// The method.
        method: String,
        /// The argument, and why it does not fit.
        message: String,
    },
    /// The result cannot be passed to the caller. For example, the plugin cannot encode it, or the host cannot decode
    /// it.
    #[error("`{method}` of {plugin}: its result cannot be passed on: {message}")]
    BadResult {
        /// The plugin's id.
        plugin: String,
        /// The method.
        method: String,
        /// The reason.
        message: String,
    },
    /// Calls are nested too deeply on this thread.
    #[error("calls into plugins are nested {depth} deep on this thread: {plugin} was not called")]
    TooDeep {
        /// The plugin's id.
        plugin: String,
        /// The number of calls that are nested on this thread.
        depth: usize,
    },
    /// The plugin's process terminated during the call. The rest of the host is not affected.
    #[error(
        "{plugin} g{generation} {death} during `{method}`, which may have taken effect or not; the plugin is restarted unless it was stopped or died too often{}",
        stderr_note(.stderr_tail)
    )]
    Crashed {
        /// The plugin's id.
        plugin: String,
        /// The generation that ran the call.
        generation: u64,
        /// The method.
        method: String,
        /// How the process terminated.
        death: Death,
        /// The end of the process's standard error; may be empty.
        stderr_tail: String,
    },
    /// The plugin did not answer in time. The call was cancelled, but may still take effect.
    #[error(
        "`{method}` of {plugin} g{generation} did not answer within {after_ms} ms: make the method faster, or allow more time (`call_timeout` in the plugin's manifest, or the deadline of the call)"
    )]
    Timeout {
        /// The plugin's id.
        plugin: String,
        /// The generation that ran the call.
        generation: u64,
        /// The method.
        method: String,
        /// How long the caller waited, in milliseconds.
        after_ms: u64,
    },
    /// No connection to the plugin's process could be made for the call. The process keeps running. The call was not
    /// made.
    #[error(
        "`{method}` of {plugin} was not called, because no connection to its process can be made: {reason}: make fewer calls at once, or allow the host more open files (`ulimit -n`)"
    )]
    NoConnection {
        /// The plugin's id.
        plugin: String,
        /// The method.
        method: String,
        /// The missing resource, as the system reports it.
        reason: String,
    },
    /// The plugin's process died, and the next one is not ready yet. The call was not made.
    #[error("{plugin} is restarting after it died: call again in {retry_in_ms} ms")]
    Restarting {
        /// The plugin's id.
        plugin: String,
        /// The time after which to call again, in milliseconds.
        retry_in_ms: u64,
    },
}

/// How a plugin's process terminated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// A signal killed the process, such as `SIGSEGV`.
    Signal(String),
    /// The process exited with this status.
    Exit(i32),
    /// The process closed its connection to the host, so the host killed it.
    Disconnected,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(name) => write!(f, "was killed by {name}"),
            Self::Exit(status) => write!(f, "exited with status {status}"),
            Self::Disconnected => f.write_str("broke its connection to the host"),
        }
    }
}

fn stderr_note(stderr_tail: &str) -> String {
    let tail = stderr_tail.trim_end();
    if tail.is_empty() { String::new() } else { format!("; its stderr ends with:\n{tail}") }
}

/// Converts a `CallError`, which is passed by value or by reference, to a `CallError` with another type for the
/// method's own error.
macro_rules! with_own {
    ($error:expr, $own:expr) => {
        with_own!($error, $own,
            Panicked { plugin, generation, method, message, location }
            NotImplemented { plugin, generation, method }
            NotRunning { plugin, reason }
            BadArguments { plugin, method, message }
            BadResult { plugin, method, message }
            TooDeep { plugin, depth }
            Crashed { plugin, generation, method, death, stderr_tail }
            Timeout { plugin, generation, method, after_ms }
            NoConnection { plugin, method, reason }
            Restarting { plugin, retry_in_ms }
        )
    };
    ($error:expr, $own:expr, $($variant:ident { $($field:ident),+ })+) => {
        match $error {
            CallError::Plugin(own) => CallError::Plugin($own(own)),
            CallError::Unknown(what) => CallError::Unknown(what.to_owned()),
            $(CallError::$variant { $($field),+ } => CallError::$variant { $($field: $field.to_owned()),+ },)+
        }
    };
}

impl<E> CallError<E> {
    /// The same error with another type for the method's own error.
    pub fn map<F>(self, own: impl FnOnce(E) -> F) -> CallError<F> {
        with_own!(self, own)
    }
}

impl CallError<Infallible> {
    /// The same error for a method with the error type `E`.
    pub fn widen<E>(self) -> CallError<E> {
        self.map(|never| match never {})
    }
}

/// The `Display` text, because `main` prints the `Debug` of an error that it returns. The method's own error is shown
/// by its own `Debug`.
impl<E: fmt::Debug> fmt::Debug for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plugin(own) => own.fmt(f),
            other => {
                let said: CallError<&str> = with_own!(other, |_| "");
                fmt::Display::fmt(&said, f)
            }
        }
    }
}

/// A trait marked `#[replug_api::interface]`, as the type `dyn Trait`. Implemented by the macro.
///
/// # Safety
///
/// 1. Each edge in [`Interface::EXPORT`] may be called with an [`Object`] from [`Interface::bind`] of the same library,
///    and with the types whose layout the export gives for that method.
/// 2. A client calls an edge only with the types of the method at that index.
/// 3. [`Interface::REMOTE`] describes edges of the same types, which may be called with the [`Object`] of a
///    [`RemoteObject`](crate::remote::RemoteObject) of the same binary; the `RemoteObject` must be kept until the call
///    has returned.
/// 4. [`Interface::bind`] keeps its reference in the object that it returns and nowhere else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an interface",
    label = "not marked as an interface",
    note = "if the trait is yours, add `#[replug_api::interface]` to its definition"
)]
pub unsafe trait Interface: Send + Sync + 'static {
    /// The typed client over a host's [`Caller`]: one inherent method for each method of the trait.
    type Client<C: Caller>: From<Bound<Self, C>> + Send + Sync;

    /// The interface as a library exports it. A host compares the export of the plugin with the export in its own
    /// binary.
    const EXPORT: &'static InterfaceExport;

    /// The same methods, layouts and description, with edges that encode the arguments and pass them to the host. See
    /// [`crate::remote`].
    const REMOTE: &'static InterfaceExport;

    /// Makes an implementation callable. This leaks one cell of two words for each instance.
    fn bind(it: &'static Self) -> BoundInterface;
}

/// Why a call of an edge failed, in the host's own types: an [`Outcome`](crate::abi::Outcome) other than
/// [`Outcome::Returned`](crate::abi::Outcome::Returned).
#[derive(Debug)]
pub enum Failed<E> {
    /// The method returned an error of its own.
    Refused(E),
    /// The method panicked, and the panic was caught at the edge.
    Panicked(Panic),
    /// The call did not reach the method, or its answer did not come back.
    Lost,
}

/// The host's part of a generated client: runs one call on the newest generation.
///
/// # Safety
///
/// 1. [`Caller::call`] runs its closure with an object, and with the edge at index `method` of the interface export to
///    which that object belongs. [`Bound::new`] states which interface that is.
/// 2. The instance behind the object lives, and its library stays mapped, until the closure has returned and a
///    [`Panic`] that it returned has been dropped.
pub unsafe trait Caller: Send + Sync {
    /// Pins the newest generation, calls `call` with the object and the edge of the method at `method`, and unpins it.
    ///
    /// If the call is [`Failed::Lost`], [`take_lost`](crate::remote::take_lost) returns the reason.
    ///
    /// # Errors
    ///
    /// Every [`CallError`] except [`CallError::Plugin`] is `Err(Err(..))`; the method's own error
    /// is `Err(Ok(e))`, unchanged.
    fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>>;

    /// The number of bytes of stack that the calling thread has left; `None` if it is unknown.
    ///
    /// It limits the decoding of a result that contains a `#[data(serde)]` type, as
    /// [`Remote::stack_left`](crate::remote::Remote::stack_left) limits that of other results.
    fn stack_left(&self) -> Option<usize> {
        None
    }
}

/// A [`Caller`] and the interface that it calls. A generated client contains it.
pub struct Bound<I: ?Sized, C> {
    caller: C,
    interface: PhantomData<fn(&I)>,
}

// A derived implementation would require `I: Clone`.
impl<I: ?Sized, C: Clone> Clone for Bound<I, C> {
    fn clone(&self) -> Self {
        Self { caller: self.caller.clone(), interface: PhantomData }
    }
}

impl<I: ?Sized, C: Caller> Bound<I, C> {
    /// Binds `caller` to the interface `I` of a plugin.
    ///
    /// # Safety
    ///
    /// 1. The edges that `caller` hands out are those of `I`: of [`Interface::EXPORT`], of [`Interface::REMOTE`], or of
    ///    an export of another library whose layouts were compared with those of `I` and found equal.
    pub unsafe fn new(caller: C) -> Self {
        Self { caller, interface: PhantomData }
    }

    /// The caller.
    pub fn caller(&self) -> &C {
        &self.caller
    }

    /// Calls [`Caller::call`].
    ///
    /// # Errors
    ///
    /// - As for [`Caller::call`]
    #[inline(always)]
    pub fn call<T, E>(
        &self,
        method: u32,
        call: impl FnOnce(Object, Edge) -> Result<T, Failed<E>>,
    ) -> Result<T, Result<E, CallError>> {
        self.caller.call(method, call)
    }
}

impl<I: ?Sized, C: fmt::Debug> fmt::Debug for Bound<I, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.caller.fmt(f)
    }
}
