//! The places of an author's types. A place is a position in the signatures of an interface or in a `#[data]` type.
//!
//! Generated code names the type at a position once, as the [`Place::Type`] of the place. There the compiler checks
//! that the type is [`Data`]. All other generated code names the place, so that a type that is not `Data` causes one
//! error and not many.

use super::{Arguments, answer, answer_fallible, infallible_failed, not_returned};
use crate::{
    Data,
    abi::{Encoding, Nothing, Outcome, Refusal},
    call::Failed,
    describe::{Type, Types},
};
use abi_stable::{StableAbi, abi_stability::GetStaticEquivalent_, type_layout::TypeLayout};
use std::{convert::Infallible, marker::PhantomData, mem::ManuallyDrop};

/// The type at place `AT`. A private type of the generated code implements this trait, because the author's types may
/// be private.
pub trait Place<const AT: u32>: 'static {
    /// The type that the author wrote.
    type Type: Data;
}

/// The FFI form of the type at a place.
///
/// A `Form` drops its content in its own `Drop`. With the drop that the compiler generates, the compiler would check
/// the content's type wherever generated code can drop a `Form`. If the author's type is not [`Data`], the compiler
/// would report an error at each of these places.
#[repr(transparent)]
pub struct Form<P: Place<AT>, const AT: u32>(
    ManuallyDrop<<P::Type as Data>::Ffi>,
    // This field is the last one, because the compiler checks the last field to find out whether the struct is sized.
    PhantomData<fn() -> P>,
);

impl<P: Place<AT>, const AT: u32> Drop for Form<P, AT> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: nothing uses the content afterwards. `into_value`, which takes the content, does not run this `drop`.
        unsafe { ManuallyDrop::drop(&mut self.0) }
    }
}

// SAFETY: the type has no lifetimes, so it is its own static equivalent.
unsafe impl<P: Place<AT>, const AT: u32> GetStaticEquivalent_ for Form<P, AT> {
    type StaticEquivalent = Self;
}

// SAFETY: `repr(transparent)`: its layout is that of its first field, a `ManuallyDrop`, which is transparent, too. The
// only other field is a `PhantomData`.
unsafe impl<P: Place<AT>, const AT: u32> StableAbi for Form<P, AT> {
    type IsNonZeroType = <<P::Type as Data>::Ffi as StableAbi>::IsNonZeroType;
    const LAYOUT: &'static TypeLayout = <<P::Type as Data>::Ffi as StableAbi>::LAYOUT;
}

impl<P: Place<AT>, const AT: u32> Form<P, AT> {
    /// Converts the value to its FFI form.
    #[inline]
    pub fn new(value: P::Type) -> Self {
        Self(ManuallyDrop::new(value.into_ffi()), PhantomData)
    }

    /// Converts the FFI form to the value.
    #[inline]
    pub fn into_value(self) -> P::Type {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used or dropped after this, so the content is taken once.
        Data::from_ffi(unsafe { ManuallyDrop::take(&mut this.0) })
    }

    /// The description of the type.
    pub fn describe(types: &mut Types) -> Type {
        P::Type::describe(types)
    }

    /// Whether a call whose signature contains the type passes encoded arguments, also in process.
    pub const SENT_ENCODED: bool = P::Type::SENT_ENCODED;

    /// The description of the type of a field. `BY_DERIVE` says that serde's derive encodes the field.
    pub fn describe_field<const BY_DERIVE: bool>(types: &mut Types) -> Type {
        const {
            assert!(
                !P::Type::SENT_ENCODED,
                "the type of this field is marked `#[data(serde)]`: mark the type that contains the field in the same way"
            );
            assert!(
                !BY_DERIVE || P::Type::BY_SERDE,
                "calls encode this field's type in a form of its own: write the type by its own name, not by an alias"
            );
        }
        Self::describe(types)
    }

    /// Reads the next argument of an encoded call.
    ///
    /// # Errors
    ///
    /// - As for [`Arguments::take`].
    pub fn take(arguments: &mut Arguments<'_>) -> Result<P::Type, Refusal> {
        arguments.take()
    }

    /// Writes the encoded result of a method that cannot fail to `bytes`, which is empty.
    ///
    /// # Errors
    ///
    /// - [`Refusal::BadResult`] if the encoding cannot represent the value.
    pub fn answer(encoding: Encoding, value: &P::Type, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
        answer(encoding, value, bytes)
    }

    /// The outcome of a method that cannot fail.
    #[inline]
    pub fn outcome(value: P::Type) -> Outcome<Self, Nothing> {
        Outcome::Returned(Self::new(value))
    }

    /// The result of a method that cannot fail. See [`Fallible::received`].
    #[inline]
    pub fn received(outcome: Outcome<Self, Nothing>) -> Result<P::Type, Failed<Infallible>> {
        match outcome {
            Outcome::Returned(value) => Ok(value.into_value()),
            failed => Err(infallible_failed(failed)),
        }
    }
}

/// The value and the error of a method that returns a `Result`.
pub struct Fallible<P, const VALUE: u32, const ERROR: u32>(PhantomData<P>);

impl<P: Place<VALUE> + Place<ERROR>, const VALUE: u32, const ERROR: u32> Fallible<P, VALUE, ERROR> {
    /// The outcome of the method.
    #[inline]
    pub fn outcome(
        result: Result<<P as Place<VALUE>>::Type, <P as Place<ERROR>>::Type>,
    ) -> Outcome<Form<P, VALUE>, Form<P, ERROR>> {
        match result {
            Ok(value) => Outcome::Returned(Form::new(value)),
            Err(error) => Outcome::Refused(Form::new(error)),
        }
    }

    /// The result of the method, as the host's own values.
    ///
    /// The caller must keep the generation pinned, because the FFI forms own memory of the plugin.
    #[inline]
    pub fn received(
        outcome: Outcome<Form<P, VALUE>, Form<P, ERROR>>,
    ) -> Result<<P as Place<VALUE>>::Type, Failed<<P as Place<ERROR>>::Type>> {
        match outcome {
            Outcome::Returned(value) => Ok(value.into_value()),
            failed => Err(not_returned(failed, Form::into_value)),
        }
    }

    /// Writes the encoded result to `bytes`, which is empty.
    ///
    /// # Errors
    ///
    /// - [`Refusal::Error`] with the encoded error if there is one.
    /// - [`Refusal::BadResult`] as for [`Form::answer`].
    pub fn answer(
        encoding: Encoding,
        result: &Result<<P as Place<VALUE>>::Type, <P as Place<ERROR>>::Type>,
        bytes: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        answer_fallible(encoding, result, bytes)
    }
}
