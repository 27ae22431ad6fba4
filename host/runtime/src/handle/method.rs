//! A method that was found by its name once, for many calls.

use super::encoded::{SHORT, read_raw, read_value, write_json};
use crate::{
    deadline::Deadline,
    interface,
    registry::{Entry, Live, MethodPlace, lost, next_call_is_timed, panicked, stack_left},
};
use replug_api::{
    CallError, Data,
    abi::{Encoding, Outcome, Refusal},
    abi_stable::std_types::RVec,
    describe::{self, Type, Types, method_difference},
    remote,
};
use replug_model::{
    id::PluginId,
    metrics::{CallEnd, Stopwatch},
};
use serde_json::{Value, value::RawValue};
use std::{
    convert::Infallible,
    fmt,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A method of a plugin, which [`DynHandle::method`](super::DynHandle::method) has found by its name.
///
/// A `Method` reaches the newest generation, keeps no generation alive between calls, and can be shared. The name is
/// looked up again only when a new generation serves. The errors and the counts are those of a call by name. The
/// calling thread makes the call. As with typed handles, one call in 1,024 is timed if the plugin runs in this process
/// on the threads of its callers; otherwise, each call is timed.
#[derive(Clone)]
pub struct Method(Found);

impl Method {
    pub(super) fn find(entry: Arc<Entry>, name: String) -> Result<Self, CallError> {
        let found = Found::new(entry, name);
        found.check(&|_, _| Ok(()))?;
        Ok(Self(found))
    }

    /// The plugin's id.
    pub fn id(&self) -> &PluginId {
        &self.0.entry.id
    }

    /// The name that was given, which may be `Interface.name`.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The same method, with a deadline for each call, as for [`Handle::within`](super::Handle::within).
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self(Found { limit: Some(limit), ..self.0.clone() })
    }

    /// Calls the method. `arguments` is a JSON object by parameter name, a JSON array by position, or null if there are
    /// no arguments.
    ///
    /// # Errors
    ///
    /// * Those of [`Invocation::wait`](super::Invocation::wait)
    pub fn call_json(&self, arguments: &Value) -> Result<Value, CallError<Value>> {
        let mut buffer = [0; SHORT];
        let arguments = write_json(arguments, &mut buffer);
        self.0.call((Encoding::Json, &arguments), &|_, _| Ok(()), read_value, read_value)
    }

    /// Calls the method like [`Method::call_json`]. Arguments and result are JSON text, which only the plugin parses
    /// and writes.
    ///
    /// # Errors
    ///
    /// * Those of [`Invocation::wait`](super::Invocation::wait)
    pub fn call_raw(&self, arguments: &RawValue) -> Result<Box<RawValue>, CallError<Value>> {
        let arguments = arguments.get().as_bytes();
        self.0.call((Encoding::Json, arguments), &|_, _| Ok(()), read_raw, read_value)
    }

    /// The same method with the caller's types, in a binary encoding. The types are compared with those of the method
    /// now, and again when a new generation serves. So no value is decoded as a value of a different type.
    ///
    /// `A` is the tuple of the parameters: `()`, `(f64,)` or `(String, u32)`. A parameter `&str` is a `String` in the
    /// tuple, and a parameter `&[u8]` is a `Vec<u8>`. `T` is the type of the result. The method must not return a
    /// `Result`: [`Method::typed_fallible`] is for such methods.
    ///
    /// # Errors
    ///
    /// * [`CallError::BadArguments`] if the parameters of the method differ; the message names the first difference
    /// * [`CallError::BadResult`] if the result of the method differs; the message names the difference
    /// * [`CallError::Unknown`], [`CallError::NotRunning`], [`CallError::Restarting`], [`CallError::TooDeep`] as for
    ///   [`DynHandle::method`](super::DynHandle::method)
    pub fn typed<A: Data, T: Data>(&self) -> Result<TypedMethod<A, T>, CallError> {
        let read_error =
            |_: &[u8]| Err("the method returned an error, although its signature has no error".to_owned());
        TypedMethod::new(&self.0, (|_| None, read_error))
    }

    /// The same as [`Method::typed`], for a method that returns a `Result<T, E>`.
    ///
    /// # Errors
    ///
    /// * Those of [`Method::typed`]
    pub fn typed_fallible<A: Data, T: Data, E: Data>(&self) -> Result<TypedMethod<A, T, E>, CallError> {
        TypedMethod::new(&self.0, (|types| Some(E::describe(types)), read_binary))
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Method({}, {})", self.0.entry.id, self.0.name)
    }
}

/// A [`Method`] with the caller's types: see [`Method::typed`].
pub struct TypedMethod<A, T, E = Infallible> {
    found: Found,
    error: ErrorType<E>,
    types: PhantomData<fn(A) -> T>,
}

/// Describes the error type of a method, if it has one, and decodes an error.
type ErrorType<E> = (fn(&mut Types) -> Option<Type>, fn(&[u8]) -> Result<E, String>);

impl<A: Data, T: Data, E> TypedMethod<A, T, E> {
    fn new(of: &Found, error: ErrorType<E>) -> Result<Self, CallError> {
        // The place in `of` was found without a comparison of these types. Without a place, the check below searches
        // for the method and compares the types.
        let found = Found { place: AtomicU64::new(MethodPlace::NONE.0), ..of.clone() };
        let typed = Self { found, error, types: PhantomData };
        typed.found.check(&|live, method| typed.compare(live, method))?;
        Ok(typed)
    }

    /// Calls the method. If a new generation serves, first compares the types with those of that generation's method.
    ///
    /// # Errors
    ///
    /// * [`CallError::Plugin`] with the method's own error
    /// * [`CallError::BadArguments`], [`CallError::BadResult`] if the types in the serving generation differ
    /// * [`CallError::Unknown`] if the serving generation has no such method
    /// * the other errors of [`Invocation::wait`](super::Invocation::wait)
    pub fn call(&self, arguments: &A) -> Result<T, CallError<E>> {
        let compare: Check<'_> = &|live, method| self.compare(live, method);
        let mut buffer = [0; SHORT];
        let encoded = remote::encode(arguments, &mut buffer).map_err(|why| CallError::BadArguments {
            plugin: self.found.entry.id.to_string(),
            method: self.found.name.to_string(),
            message: format!("the arguments cannot be encoded: {why}"),
        })?;
        self.found.call((Encoding::Binary, &encoded), compare, read_binary, self.error.1)
    }

    /// Compares the types of the caller with those of the method.
    fn compare(&self, live: &Live, method: interface::Method<'_>) -> Result<(), CallError> {
        let plugin = method.description();
        let mut types = Types::default();
        let given = match A::describe(&mut types) {
            Type::Unit => Vec::new(),
            Type::Tuple(parts) => parts,
            other => vec![other],
        };
        let (returns, error) = (T::describe(&mut types), (self.error.0)(&mut types));
        // The caller's types have no parameter names, so the names in the plugin are used.
        let names = plugin.params.iter().map(|param| param.name.clone());
        let names = names.chain((1..).map(|number| format!("argument {number}")));
        let param = |(ty, name)| describe::Param { name, ty, borrowed: false };
        let params = given.into_iter().zip(names).map(param).collect();
        let (name, docs) = (plugin.name.clone(), String::new());
        let own = describe::Method { name, docs, params, returns, error };
        let host = describe::Interface {
            name: method.interface().name.clone(),
            docs: String::new(),
            methods: Vec::new(),
            types: types.into_definitions(),
        };
        let differs = |part: fn(&mut describe::Method)| {
            let (mut own, mut theirs) = (own.clone(), plugin.clone());
            part(&mut own);
            part(&mut theirs);
            method_difference((&host, &own), (method.interface(), &theirs))
        };
        let (plugin, name) = (live.plugin.to_string(), plugin.name.clone());
        let without_result = |method: &mut describe::Method| {
            (method.returns, method.error) = (Type::Unit, None);
        };
        if let Some(message) = differs(without_result) {
            return Err(CallError::BadArguments { plugin, method: name, message });
        }
        match differs(|method| method.params.clear()) {
            Some(message) => Err(CallError::BadResult { plugin, method: name, message }),
            None => Ok(()),
        }
    }
}

// A derived implementation would require the types to be `Clone`.
impl<A, T, E> Clone for TypedMethod<A, T, E> {
    fn clone(&self) -> Self {
        Self { found: self.found.clone(), error: self.error, types: PhantomData }
    }
}

impl<A, T, E> fmt::Debug for TypedMethod<A, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypedMethod({}, {})", self.found.entry.id, self.found.name)
    }
}

/// Checks a method whenever a search has found it.
type Check<'a> = &'a dyn Fn(&Live, interface::Method<'_>) -> Result<(), CallError>;

/// A method with the place at which it was found.
struct Found {
    entry: Arc<Entry>,
    name: Arc<str>,
    limit: Option<Duration>,
    /// The [`MethodPlace`] of the method in the generation that served at the last search.
    place: AtomicU64,
}

impl Clone for Found {
    fn clone(&self) -> Self {
        Self {
            entry: self.entry.clone(),
            name: self.name.clone(),
            limit: self.limit,
            place: AtomicU64::new(self.place.load(Ordering::Relaxed)),
        }
    }
}

impl Found {
    fn new(entry: Arc<Entry>, name: String) -> Self {
        Self { entry, name: name.into(), limit: None, place: AtomicU64::new(MethodPlace::NONE.0) }
    }

    /// Finds and checks the method in the serving generation.
    fn check(&self, check: Check<'_>) -> Result<(), CallError> {
        let (pin, _wait) = self.entry.pin()?;
        self.search(pin.live(), check).map(drop)
    }

    /// The method in this generation.
    #[inline]
    fn method<'a>(&self, live: &'a Live, check: Check<'_>) -> Result<interface::Method<'a>, CallError> {
        match live.method_at(MethodPlace(self.place.load(Ordering::Relaxed))) {
            Some(method) => Ok(method),
            None => self.search(live, check),
        }
    }

    #[cold]
    fn search<'a>(&self, live: &'a Live, check: Check<'_>) -> Result<interface::Method<'a>, CallError> {
        let method = live.method(&self.name).map_err(CallError::Unknown)?;
        check(live, method)?;
        self.place.store(live.place_of(method).0, Ordering::Relaxed);
        Ok(method)
    }

    fn call<T, E>(
        &self,
        arguments: (Encoding, &[u8]),
        check: Check<'_>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
        read_error: impl FnOnce(&[u8]) -> Result<E, String>,
    ) -> Result<T, CallError<E>> {
        let Some(limit) = self.limit else { return self.call_now(arguments, check, read, read_error) };
        let call = || self.call_now(arguments, check, read, read_error);
        Deadline::after(limit).hold(&self.entry.id, call)
    }

    /// Makes a call on the fast path. It leaves every unusual case to the slow path.
    #[inline]
    fn call_now<T, E>(
        &self,
        (encoding, arguments): (Encoding, &[u8]),
        check: Check<'_>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
        read_error: impl FnOnce(&[u8]) -> Result<E, String>,
    ) -> Result<T, CallError<E>> {
        let place = MethodPlace(self.place.load(Ordering::Relaxed));
        let Some(pin) = self.entry.pin_if_ready() else {
            return self.call_slowly((encoding, arguments), check, read, read_error);
        };
        let Some(method) = pin.live().method_at(place) else {
            pin.leave();
            return self.call_slowly((encoding, arguments), check, read, read_error);
        };
        pin.mark(method);
        let outcome = method.invoke(encoding, arguments);
        let error = match outcome {
            Outcome::Returned(ref bytes) => {
                let result = read(bytes);
                // The bytes are memory of the plugin, so they are freed while the generation is pinned. They are borrowed
                // above because a processor has to wait if it copies an outcome that was just written in smaller parts.
                drop(outcome);
                match result {
                    Ok(value) => {
                        pin.count(CallEnd::Ok);
                        pin.leave();
                        return Ok(value);
                    }
                    Err(message) => bad_result((pin.live(), method.name()), message),
                }
            }
            failed => not_returned((pin.live(), method.name()), failed, read_error),
        };
        pin.count(CallEnd::of_error(&error));
        pin.leave();
        Err(error)
    }

    /// The slow path. It handles a thread's first call, the first call into a generation, the calls that are timed, and
    /// the calls that have to wait or cannot be made.
    #[cold]
    #[inline(never)]
    fn call_slowly<T, E>(
        &self,
        (encoding, arguments): (Encoding, &[u8]),
        check: Check<'_>,
        read: impl FnOnce(&[u8]) -> Result<T, String>,
        read_error: impl FnOnce(&[u8]) -> Result<E, String>,
    ) -> Result<T, CallError<E>> {
        let timed = next_call_is_timed();
        let (pin, _wait) = self.entry.pin().map_err(CallError::widen)?;
        let live = pin.live();
        let method = self.method(live, check).map_err(CallError::widen)?;
        pin.mark(method);
        let watch = timed.then(Stopwatch::start);
        let outcome = method.invoke(encoding, arguments);
        let took = watch.map(Stopwatch::stop);
        let result = finished((live, method.name()), outcome, read, read_error);
        let end = CallEnd::of(&result);
        if let Some(took) = took {
            self.entry.note_time(took, end, live);
        }
        pin.count(end);
        pin.leave();
        result
    }
}

/// The result of an encoded call with this outcome. Must be called on the thread that made the call, while the
/// generation is pinned.
pub(super) fn finished<T, E>(
    of: (&Live, &str),
    outcome: Outcome<RVec<u8>, Refusal>,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
    read_error: impl FnOnce(&[u8]) -> Result<E, String>,
) -> Result<T, CallError<E>> {
    match outcome {
        Outcome::Returned(bytes) => read(&bytes).map_err(|message| bad_result(of, message)),
        failed => Err(not_returned(of, failed, read_error)),
    }
}

#[cold]
fn bad_result<E>((live, method): (&Live, &str), message: String) -> CallError<E> {
    CallError::BadResult { plugin: live.plugin.to_string(), method: method.to_owned(), message }
}

/// The error of an encoded call with this outcome, for [`finished`].
#[cold]
#[inline(never)]
fn not_returned<E>(
    (live, method): (&Live, &str),
    outcome: Outcome<RVec<u8>, Refusal>,
    read_error: impl FnOnce(&[u8]) -> Result<E, String>,
) -> CallError<E> {
    let bad_result = |message| bad_result((live, method), message);
    match outcome {
        Outcome::Refused(Refusal::Error(bytes)) => {
            read_error(&bytes).map_or_else(bad_result, CallError::Plugin)
        }
        Outcome::Refused(Refusal::BadArguments(message)) => CallError::BadArguments {
            plugin: live.plugin.to_string(),
            method: method.to_owned(),
            message: message.into(),
        },
        Outcome::Refused(Refusal::BadResult(message)) => bad_result(message.into()),
        Outcome::Panicked(panic) => panicked(live, method, panic).widen(),
        Outcome::Returned(_) | Outcome::Lost => lost(live, method).widen(),
    }
}

fn read_binary<T: Data>(bytes: &[u8]) -> Result<T, String> {
    remote::decode_value(bytes, stack_left())
}
