//! Remote edges, through which a typed client calls a plugin in another process, or one that runs on threads of its own.
//!
//! A client calls an `Edge` with an `Object`. For such a plugin, the host passes the edges of
//! [`Interface::REMOTE`](crate::Interface::REMOTE) to the client. `#[interface]` generates these edges into the
//! interface's crate, and the host links that crate. The object of a remote edge is a [`RemoteObject`]. The edge
//! encodes the arguments, passes them to the object's [`Remote`], and decodes the answer. If a call gets no answer, its
//! outcome is [`Outcome::Lost`], and [`take_lost`] returns the reason.
//!
//! **Architecture Invariant:** no value of this module crosses between libraries. Remote edges, their objects and the
//! errors that they store belong to one binary, the host's, so plain Rust types are sufficient.

mod encoded;

#[doc(hidden)]
pub use encoded::EncodedCall;

use crate::{
    CallError, Data,
    abi::{Encoding, Nothing, Object, Outcome, Refusal},
    data::{Coded, CodedRef, reason},
    edge::{
        Fallible, Form, Place, contain,
        shallow::{self, StackLimit, Unread},
        whole_number,
    },
};
use abi_stable::std_types::{RSlice, RVec};
use postcard::{
    Serializer,
    ser_flavors::{Flavor, StdVec},
};
use serde::{Serialize, Serializer as _};
use std::{borrow::Cow, cell::RefCell, mem::ManuallyDrop, sync::Arc};

/// The target of remote edges: one interface of a plugin. Implemented by the host.
///
/// Edges call a `Remote` on any thread, and on several threads at once. If a method of a `Remote` panics, the caller
/// gets [`CallError::Panicked`].
pub trait Remote: Send + Sync {
    /// The plugin's id, for errors.
    fn plugin(&self) -> &str;

    /// The number of bytes of stack that the calling thread has left; `None` if it is unknown.
    ///
    /// Decoding an answer may use at most a quarter of this stack, and never more than 512 KiB; if the number is
    /// unknown, at most 64 KiB. An answer that is nested more deeply is rejected.
    fn stack_left(&self) -> Option<usize> {
        None
    }

    /// Calls the method with the index `method` in the interface, and waits for the answer.
    ///
    /// # Errors
    ///
    /// - The reason why the call got no answer, including a panic in the plugin.
    fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Result<Reply, CallError>;
}

/// The answer of a plugin to a call through a remote edge: the result of the plugin's
/// [`InterfaceExport::invoke`](crate::abi::InterfaceExport::invoke).
#[derive(Debug)]
pub enum Reply {
    /// The result of the method, in the encoding of the call.
    Returned(Vec<u8>),
    /// The call returned no result, for this reason.
    Refused(Refusal),
}

/// Wraps a [`Remote`] as the object of remote edges.
#[derive(Clone)]
pub struct RemoteObject(Arc<Box<dyn Remote>>);

impl RemoteObject {
    /// Wraps the target of the calls.
    pub fn new(remote: impl Remote + 'static) -> Self {
        Self(Arc::new(Box::new(remote)))
    }

    /// The argument for remote edges. Valid until the last clone of `self` is dropped.
    pub fn object(&self) -> Object {
        Object(Arc::as_ptr(&self.0).cast())
    }

    /// Calls the method with the index `method`, with encoded arguments. If the outcome is [`Outcome::Lost`],
    /// [`take_lost`] returns the reason.
    pub fn invoke(&self, method: u32, encoding: Encoding, arguments: &[u8]) -> Outcome<RVec<u8>, Refusal> {
        pass_on(&**self.0, method, encoding, arguments)
    }
}

impl std::fmt::Debug for RemoteObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RemoteObject").field(&self.0.plugin()).finish()
    }
}

thread_local! {
    /// The reason of the thread's last lost call. The value has no destructor, so that it exists until the thread
    /// exits: destructors of other thread-locals may make calls. [`take_lost`] removes the reason.
    static LOST: RefCell<ManuallyDrop<Option<CallError>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

/// The reason why the calling thread's last call was [`Outcome::Lost`]. Returns each reason once.
pub fn take_lost() -> Option<CallError> {
    set_lost(None)
}

/// Sets the reason of a call that is lost.
fn lose(reason: CallError) {
    drop(set_lost(Some(reason)));
}

fn set_lost(reason: Option<CallError>) -> Option<CallError> {
    ManuallyDrop::into_inner(LOST.replace(ManuallyDrop::new(reason)))
}

#[cold]
fn lost<T, E>(error: CallError) -> Outcome<T, E> {
    lose(error);
    Outcome::Lost
}

/// [`InterfaceExport::invoke`](crate::abi::InterfaceExport::invoke) of every remote interface. Passes the encoded
/// arguments to the [`Remote`].
///
/// # Safety
///
/// 1. `object` comes from [`RemoteObject::object`].
/// 2. A clone of that `RemoteObject` lives until the call has returned.
pub unsafe extern "C" fn invoke(
    object: Object,
    method: u32,
    encoding: Encoding,
    bytes: RSlice<'_, u8>,
) -> Outcome<RVec<u8>, Refusal> {
    // SAFETY: 1 and 2 are the caller's.
    let remote = unsafe { behind(object) };
    pass_on(remote, method, encoding, bytes.as_slice())
}

/// The remote edge of the method at `METHOD`, if its signature contains a `#[data(serde)]` type. It has the type
/// [`EncodedEdge`](crate::edge::EncodedEdge).
///
/// # Safety
///
/// 1. `object` comes from [`RemoteObject::object`].
/// 2. A clone of that `RemoteObject` lives until the call has returned.
#[doc(hidden)]
pub unsafe extern "C" fn encoded_edge<const METHOD: u32>(
    object: Object,
    bytes: RSlice<'_, u8>,
) -> Outcome<RVec<u8>, Refusal> {
    // SAFETY: 1 and 2 are the caller's.
    unsafe { invoke(object, METHOD, Encoding::Binary, bytes) }
}

fn pass_on(
    remote: &dyn Remote,
    method: u32,
    encoding: Encoding,
    arguments: &[u8],
) -> Outcome<RVec<u8>, Refusal> {
    contain(|| match remote.invoke(method, encoding, arguments) {
        Ok(Reply::Returned(bytes)) => Outcome::Returned(bytes.into()),
        Ok(Reply::Refused(refusal)) => Outcome::Refused(refusal),
        Err(error) => lost(error),
    })
}

/// # Safety
///
/// 1. `object` comes from [`RemoteObject::object`].
/// 2. A clone of that `RemoteObject` lives for as long as the reference is used.
unsafe fn behind<'a>(object: Object) -> &'a dyn Remote {
    // SAFETY: by 1, `object` points to a box inside an `Arc`. By 2, that `Arc` is alive.
    unsafe { &**object.0.cast::<Box<dyn Remote>>() }
}

/// One call through a remote edge, while its arguments are encoded.
#[doc(hidden)]
pub struct Call<'a> {
    remote: &'a dyn Remote,
    index: u32,
    method: &'static str,
    arguments: Result<Serializer<StdVec>, CallError>,
}

enum Answer {
    Returned(Vec<u8>),
    Error(Vec<u8>),
}

impl Call<'_> {
    /// Begins a call of the method at `index`, whose name is `method`.
    ///
    /// # Safety
    ///
    /// 1. `object` comes from [`RemoteObject::object`].
    /// 2. A clone of that `RemoteObject` lives for as long as the call.
    pub unsafe fn new(object: Object, index: u32, method: &'static str) -> Self {
        // SAFETY: 1 and 2 are the caller's.
        let remote = unsafe { behind(object) };
        Self { remote, index, method, arguments: Ok(Serializer { output: StdVec::new() }) }
    }

    /// Encodes the next argument, with the name `name`.
    pub fn give<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        self.write(name, |output| value.serialize(output).map_err(|error| reason(&error, value)));
    }

    /// Encodes the next argument from its FFI form.
    pub fn give_form<P: Place<AT>, const AT: u32>(&mut self, name: &str, form: Form<P, AT>) {
        self.give(name, &Coded(form.into_value()));
    }

    /// Encodes the next argument from bytes. In postcard, bytes and a list of `u8` have the same encoding.
    pub fn give_bytes(&mut self, name: &str, bytes: &[u8]) {
        self.write(name, |output| output.serialize_bytes(bytes).map_err(|error| error.to_string()));
    }

    fn write(&mut self, name: &str, write: impl FnOnce(&mut Serializer<StdVec>) -> Result<(), String>) {
        let Ok(output) = &mut self.arguments else { return };
        if let Err(error) = write(output) {
            self.arguments = Err(CallError::BadArguments {
                plugin: self.remote.plugin().into(),
                method: self.method.into(),
                message: format!("argument `{name}` cannot be encoded: {error}"),
            });
        }
    }

    /// Makes the call of a method that cannot fail.
    pub fn infallible<P: Place<AT>, const AT: u32>(self) -> Outcome<Form<P, AT>, Nothing> {
        let (remote, method) = (self.remote, self.method);
        let value = self.run().and_then(|answer| match answer {
            Answer::Returned(bytes) => decode::<P::Type>(remote, method, &bytes),
            Answer::Error(_) => Err(unusable(
                remote,
                method,
                "the host's version of the method cannot fail, but the method failed",
            )),
        });
        value.map_or_else(lost, Form::outcome)
    }

    /// Makes the call of a method that returns a `Result`.
    pub fn fallible<P, const VALUE: u32, const ERROR: u32>(self) -> Outcome<Form<P, VALUE>, Form<P, ERROR>>
    where
        P: Place<VALUE> + Place<ERROR>,
    {
        let (remote, method) = (self.remote, self.method);
        let result = self.run().and_then(|answer| match answer {
            Answer::Returned(bytes) => decode(remote, method, &bytes).map(Ok),
            Answer::Error(bytes) => decode(remote, method, &bytes).map(Err),
        });
        result.map_or_else(lost, Fallible::outcome)
    }

    fn run(self) -> Result<Answer, CallError> {
        let Self { remote, index, method, arguments } = self;
        let arguments = arguments?.output.finalize().expect("a vector can hold all bytes");
        let (plugin, method) = (|| remote.plugin().to_owned(), || method.to_owned());
        match remote.invoke(index, Encoding::Binary, &arguments)? {
            Reply::Returned(bytes) => Ok(Answer::Returned(bytes)),
            Reply::Refused(Refusal::Error(bytes)) => Ok(Answer::Error(bytes.into())),
            Reply::Refused(Refusal::BadArguments(message)) => {
                Err(CallError::BadArguments { plugin: plugin(), method: method(), message: message.into() })
            }
            Reply::Refused(Refusal::BadResult(message)) => {
                Err(CallError::BadResult { plugin: plugin(), method: method(), message: message.into() })
            }
        }
    }
}

/// Encodes the arguments of a call, which are a tuple, in [`Encoding::Binary`]. Writes them to `buffer` if it is large
/// enough, and otherwise to a new vector.
///
/// # Errors
///
/// - The reason why a value cannot be encoded.
#[doc(hidden)]
pub fn encode<'a, T: Data>(arguments: &T, buffer: &'a mut [u8]) -> Result<Cow<'a, [u8]>, String> {
    let arguments = &CodedRef(arguments);
    match postcard::to_slice(arguments, &mut *buffer).map(|encoded| encoded.len()) {
        Ok(len) => Ok(Cow::Borrowed(&buffer[..len])),
        Err(postcard::Error::SerializeBufferFull) => {
            postcard::to_stdvec(arguments).map(Cow::Owned).map_err(|error| reason(&error, arguments))
        }
        Err(error) => Err(reason(&error, arguments)),
    }
}

/// Decodes a result or an error in [`Encoding::Binary`]. `stack_left` is the number of bytes of stack that the calling
/// thread has left; `None` if it is unknown.
///
/// # Errors
///
/// - The reason why the bytes are not an encoded `T`.
#[doc(hidden)]
pub fn decode_value<T: Data>(bytes: &[u8], stack_left: Option<usize>) -> Result<T, String> {
    let value = shallow::read(bytes, StackLimit::of_thread(stack_left));
    value.map(Coded::into_inner).map_err(|error| error.to_string())
}

/// The whole number that is all of this JSON. `None` if a general parser has to read the JSON.
#[doc(hidden)]
#[inline]
pub fn whole_number(json: &[u8]) -> Option<u64> {
    whole_number::entire(json)
}

fn decode<T: Data>(remote: &dyn Remote, method: &str, bytes: &[u8]) -> Result<T, CallError> {
    let value = shallow::read(bytes, StackLimit::of_thread(remote.stack_left()));
    value.map(Coded::into_inner).map_err(|error| match error {
        Unread::TooDeep => CallError::BadResult {
            plugin: remote.plugin().into(),
            method: method.into(),
            message: error.to_string(),
        },
        Unread::Left(_) | Unread::Unfit(_) | Unread::Rejected(_) => {
            unusable(remote, method, &error.to_string())
        }
    })
}

/// The error for an answer that does not have the method's type.
#[cold]
fn unusable(remote: &dyn Remote, method: &str, why: &str) -> CallError {
    CallError::BadResult {
        plugin: remote.plugin().into(),
        method: method.into(),
        message: format!(
            "the answer is not what the host expects ({why}): build the host and the plugin with \
             the same version of the interface"
        ),
    }
}
