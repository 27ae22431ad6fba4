//! The parts of generated edges: the FFI-safe shapes of arguments, and the function that contains panics.
//!
//! An edge is the `extern "C"` function through which a method is called. `#[interface]` generates the edges. All code
//! that does not depend on the method is in this module, and is compiled once.
//!
//! **Architecture Invariant:** no unwind leaves this module. All code of the author that can panic (converting an
//! argument, the method, dropping a value, a panic payload's own `Drop`) runs inside [`contain`].

mod answer;
mod arguments;
mod array;
mod bounded;
pub mod encoded;
pub mod field;
mod place;
pub(crate) mod shallow;
pub(crate) mod whole_number;

pub use crate::shape::{Either, End, Pair};
pub use arguments::{Alone, Arguments};
pub use place::{Fallible, Form, Place};

use answer::{answer, answer_fallible};

use crate::{
    CallError,
    abi::{Nothing, Object, Outcome, Panic, Refusal},
    call::Failed,
    describe::{Interface, Method, Param, Type, Types},
};
use abi_stable::{
    StableAbi,
    std_types::{RSlice, RString, RVec},
};
use std::{
    any::Any,
    convert::Infallible,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// A type whose layout describes a method: `A` is the list of its arguments, `T` its value, `E` its error.
#[repr(C)]
#[derive(StableAbi)]
pub struct Signature<A, T, E> {
    call: unsafe extern "C" fn(Object, A) -> Outcome<T, E>,
}

/// The edge of a method whose signature contains a `#[data(serde)]` type. It takes the arguments in
/// [`Encoding::Binary`](crate::abi::Encoding::Binary), and returns what [`InterfaceExport::invoke`](crate::abi::InterfaceExport::invoke) returns.
pub type EncodedEdge = unsafe extern "C" fn(Object, RSlice<'_, u8>) -> Outcome<RVec<u8>, Refusal>;

/// Runs `f` and turns a panic into [`Outcome::Panicked`].
#[inline]
pub fn contain<T, E>(f: impl FnOnce() -> Outcome<T, E>) -> Outcome<T, E> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(outcome) => outcome,
        Err(payload) => Outcome::Panicked(caught(payload)),
    }
}

/// Reads a panic's payload and drops it, even if its `Drop` panics.
#[cold]
fn caught(payload: Box<dyn Any + Send>) -> Panic {
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "a panic whose payload is not text".to_owned(),
    };
    // Without this `catch_unwind`, a panic in the drop of the payload would leave this module. The drop of the second
    // panic's payload could panic, too, so that payload is leaked.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    Panic::new(message)
}

/// The instance behind an object, as the interface `I`.
///
/// # Safety
///
/// 1. `object` comes from `<I as Interface>::bind` of this library.
/// 2. The instance has not been dropped, and is not dropped while the reference is used.
#[inline]
pub unsafe fn view<'a, I: ?Sized>(object: Object) -> &'a I {
    // SAFETY: by 1, `object` points to a cell that is never freed and holds a reference to the instance. By 2, the
    // instance is alive.
    unsafe { *object.0.cast::<&'a I>() }
}

/// Makes the cell that an object points to.
pub fn cell<I: ?Sized>(it: &'static I) -> Object {
    Object(std::ptr::from_ref(Box::leak(Box::new(it))).cast())
}

/// Converts an outcome other than [`Outcome::Returned`]. Not inlined, so that the inlined part of a call stays small.
#[cold]
#[inline(never)]
fn not_returned<V, F, E>(outcome: Outcome<V, F>, refused: impl FnOnce(F) -> E) -> Failed<E> {
    match outcome {
        Outcome::Refused(error) => Failed::Refused(refused(error)),
        Outcome::Panicked(panic) => Failed::Panicked(panic),
        Outcome::Returned(_) | Outcome::Lost => Failed::Lost,
    }
}

/// Converts an outcome other than [`Outcome::Returned`] of a method that cannot fail.
#[cold]
#[inline(never)]
fn infallible_failed<V>(outcome: Outcome<V, Nothing>) -> Failed<Infallible> {
    match outcome {
        // A `Nothing` is never constructed, so an edge that returns one breaks the contract.
        Outcome::Refused(_) => Failed::Panicked(Panic::new("a method that cannot fail has failed".into())),
        Outcome::Panicked(panic) => Failed::Panicked(panic),
        Outcome::Returned(_) | Outcome::Lost => Failed::Lost,
    }
}

/// A call's result in the form that a client returns.
///
/// # Errors
///
/// - The error in `result`.
#[inline]
pub fn finished<T, E>(result: Result<T, Result<E, CallError>>) -> Result<T, CallError<E>> {
    result.map_err(call_error)
}

#[cold]
#[inline(never)]
fn call_error<E>(error: Result<E, CallError>) -> CallError<E> {
    match error {
        Ok(own) => CallError::Plugin(own),
        Err(other) => other.widen(),
    }
}

/// Runs an encoded call, which writes its result to the vector that it gets. Converts the result, the refusal or the
/// panic into an outcome.
// The vector is never moved: a processor has to wait if it copies bytes that were just written in smaller parts.
pub fn invoked(f: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>) -> Outcome<RVec<u8>, Refusal> {
    let mut result = Vec::new();
    match catch_unwind(AssertUnwindSafe(|| f(&mut result))) {
        Ok(Ok(())) => Outcome::Returned(result.into()),
        Ok(Err(refusal)) => Outcome::Refused(refusal),
        Err(payload) => Outcome::Panicked(caught(payload)),
    }
}

/// The refusal of an unknown method index.
#[cold]
pub fn no_such_method(index: u32) -> Refusal {
    Refusal::BadArguments(format!("the interface has no method number {index}").into())
}

/// The description of an interface as JSON, or an empty text if describing it panics.
pub fn described(name: &str, docs: &str, methods: impl FnOnce(&mut Types) -> Vec<Method>) -> RString {
    let described: Outcome<RString, Nothing> = contain(|| {
        let mut types = Types::default();
        let methods = methods(&mut types);
        let interface =
            Interface { name: name.into(), docs: docs.into(), methods, types: types.into_definitions() };
        Outcome::Returned(serde_json::to_string(&interface).unwrap_or_default().into())
    });
    match described {
        Outcome::Returned(json) => json,
        Outcome::Refused(_) | Outcome::Panicked(_) | Outcome::Lost => RString::new(),
    }
}

/// The description of a parameter or a field.
pub fn named(name: &str, ty: Type) -> Param {
    Param { name: name.into(), ty, borrowed: false }
}

/// The description of a parameter that is a reference.
pub fn borrowed(name: &str, ty: Type) -> Param {
    Param { borrowed: true, ..named(name, ty) }
}
