//! Typed calls whose arguments are encoded also in process, because their signatures contain a `#[data(serde)]` type.

use super::lose;
use crate::{
    CallError, Data,
    abi::{Outcome, Refusal},
    call::Failed,
    data::{Coded, reason},
    edge::{
        Place,
        shallow::{self, StackLimit, Unread},
    },
};
use abi_stable::std_types::{RSlice, RVec};
use postcard::{
    Serializer,
    ser_flavors::{Flavor, StdVec},
};
use serde::Serialize;
use std::convert::Infallible;

/// A call through an [`EncodedEdge`](crate::edge::EncodedEdge), while its arguments are encoded.
pub struct EncodedCall {
    method: &'static str,
    /// How much stack decoding the result may use.
    limit: StackLimit,
    /// The encoded arguments, or why one of them cannot be encoded.
    arguments: Result<Serializer<StdVec>, String>,
}

impl EncodedCall {
    /// Begins a call of the method with this name. `stack_left` is the number of bytes of stack that the calling thread has
    /// left; `None` if it is unknown.
    pub fn new(method: &'static str, stack_left: Option<usize>) -> Self {
        let limit = StackLimit::of_thread(stack_left);
        Self { method, limit, arguments: Ok(Serializer { output: StdVec::new() }) }
    }

    /// Encodes the next argument, with the name `name`.
    pub fn give<P: Place<AT>, const AT: u32>(&mut self, name: &str, value: P::Type) {
        self.give_serialized(name, &Coded(value));
    }

    /// Encodes the next argument from something that serde encodes like it.
    pub fn give_serialized<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) {
        let Ok(output) = &mut self.arguments else { return };
        if let Err(error) = value.serialize(output) {
            let why = reason(&error, value);
            self.arguments = Err(format!("argument `{name}` cannot be encoded: {why}"));
        }
    }

    /// Makes the call of a method that cannot fail.
    ///
    /// # Errors
    ///
    /// - [`Failed::Lost`] if a value cannot be encoded or decoded. [`take_lost`](crate::remote::take_lost) returns the
    ///   reason, without the plugin.
    /// - [`Failed::Panicked`] as the edge returned it.
    pub fn infallible<P: Place<AT>, const AT: u32>(
        self,
        call: impl FnOnce(RSlice<'_, u8>) -> Outcome<RVec<u8>, Refusal>,
    ) -> Result<P::Type, Failed<Infallible>> {
        let (method, limit) = (self.method, self.limit);
        match self.run(call)? {
            Ok(bytes) => decode(method, limit, &bytes),
            Err(_) => Err(bad_result(method, "the method cannot fail, but it failed".into())),
        }
    }

    /// Makes the call of a method that returns a `Result`.
    ///
    /// # Errors
    ///
    /// - [`Failed::Refused`] with the method's own error.
    /// - The others as for [`EncodedCall::infallible`].
    pub fn fallible<P: Place<VALUE> + Place<ERROR>, const VALUE: u32, const ERROR: u32>(
        self,
        call: impl FnOnce(RSlice<'_, u8>) -> Outcome<RVec<u8>, Refusal>,
    ) -> Result<<P as Place<VALUE>>::Type, Failed<<P as Place<ERROR>>::Type>> {
        let (method, limit) = (self.method, self.limit);
        match self.run(call)? {
            Ok(bytes) => decode(method, limit, &bytes),
            Err(error) => decode(method, limit, &error).and_then(|error| Err(Failed::Refused(error))),
        }
    }

    /// Makes the call. The inner result contains the encoded value, or the method's own error.
    fn run<E>(
        self,
        call: impl FnOnce(RSlice<'_, u8>) -> Outcome<RVec<u8>, Refusal>,
    ) -> Result<Result<RVec<u8>, RVec<u8>>, Failed<E>> {
        let Self { method, arguments, .. } = self;
        let bad_arguments = |message| {
            lose(CallError::BadArguments { plugin: String::new(), method: method.into(), message });
            Failed::Lost
        };
        let arguments = arguments.map_err(bad_arguments)?.output.finalize();
        let arguments = arguments.expect("a vector can hold all bytes");
        match call(arguments.as_slice().into()) {
            Outcome::Returned(bytes) => Ok(Ok(bytes)),
            Outcome::Refused(Refusal::Error(bytes)) => Ok(Err(bytes)),
            Outcome::Refused(Refusal::BadArguments(message)) => Err(bad_arguments(message.into())),
            Outcome::Refused(Refusal::BadResult(message)) => Err(bad_result(method, message.into())),
            Outcome::Panicked(panic) => Err(Failed::Panicked(panic)),
            Outcome::Lost => Err(Failed::Lost),
        }
    }
}

fn decode<T: Data, E>(method: &str, limit: StackLimit, bytes: &RVec<u8>) -> Result<T, Failed<E>> {
    shallow::read(bytes, limit).map(Coded::into_inner).map_err(|error| {
        let message = match error {
            Unread::TooDeep => error.to_string(),
            Unread::Left(_) | Unread::Unfit(_) | Unread::Rejected(_) => format!(
                "the host cannot read the answer ({error}): build the host and the plugin with the same version of the \
                 interface and of its types"
            ),
        };
        bad_result(method, message)
    })
}

fn bad_result<E>(method: &str, message: String) -> Failed<E> {
    lose(CallError::BadResult { plugin: String::new(), method: method.into(), message });
    Failed::Lost
}
