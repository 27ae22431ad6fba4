//! Values of `#[data(serde)]` types. They cross the boundary encoded, also in process: a call whose signature contains
//! such a type passes its encoded arguments through the encoded entry of the interface.
//!
//! In JSON, serde's implementations encode such a value. In the binary encoding, it is a byte string that contains
//! MessagePack, because serde's implementations may need an encoding with field names.

use super::{
    Signature,
    bounded::{Bound, Bounded},
    shallow::{Stack, Unread},
};
use crate::abi::{Encoding, Refusal};
use abi_stable::{
    StableAbi,
    std_types::{RSlice, RVec},
    type_layout::TypeLayout,
};
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Visitor},
    ser::Error as _,
};
use std::{cell::RefCell, fmt, marker::PhantomData, mem::ManuallyDrop};

/// The maximum depth of the arrays and maps in a value. It is that of serde_json.
const MAX_DEPTH: usize = 128;

/// The layout of an [`EncodedEdge`](super::EncodedEdge).
pub const ENCODED_LAYOUT: &TypeLayout =
    <Signature<RSlice<'static, u8>, RVec<u8>, Refusal> as StableAbi>::LAYOUT;

/// The encoding of all calls of an [`EncodedEdge`](super::EncodedEdge).
pub const ENCODING: Encoding = Encoding::Binary;

/// Encodes a value of a `#[data(serde)]` type.
///
/// # Errors
///
/// - The serializer's error.
pub fn serialize<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return value.serialize(serializer);
    }
    serializer.serialize_bytes(&pack(value).map_err(S::Error::custom)?)
}

/// Decodes a value of a `#[data(serde)]` type.
///
/// # Errors
///
/// - The deserializer's error.
pub fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Packed<T>(PhantomData<T>);

    impl<T: DeserializeOwned> Visitor<'_> for Packed<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value as MessagePack in a byte string")
        }

        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<T, E> {
            unpack(bytes).map_err(|why| {
                let error = E::custom(&why);
                // Only a reader takes the reason.
                if Stack::is_reading() {
                    keep_reason(bytes, why);
                }
                error
            })
        }
    }

    if deserializer.is_human_readable() {
        T::deserialize(deserializer)
    } else {
        deserializer.deserialize_bytes(Packed(PhantomData))
    }
}

thread_local! {
    /// Why a value could not be decoded last, and the address of its bytes: postcard does not keep the reason. The value
    /// has no destructor, for the reason given at the one in `remote.rs`.
    static REASON: RefCell<ManuallyDrop<Option<(usize, Unread)>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

#[cold]
fn keep_reason(bytes: &[u8], why: Unread) {
    let reason = Some((bytes.as_ptr().addr(), why));
    drop(ManuallyDrop::into_inner(REASON.replace(ManuallyDrop::new(reason))));
}

/// Why the calling thread could not decode a value of a `#[data(serde)]` type in these bytes. Returns the reason once.
#[cold]
pub(super) fn take_reason(bytes: &[u8]) -> Option<Unread> {
    let (address, why) = ManuallyDrop::into_inner(REASON.replace(ManuallyDrop::new(None)))?;
    let range = bytes.as_ptr_range();
    (range.start.addr()..range.end.addr()).contains(&address).then_some(why)
}

/// The FFI form of a value of a `#[data(serde)]` type. No call uses it.
///
/// # Panics
///
/// - If serde cannot encode the value.
pub fn into_ffi<T: Serialize>(value: &T) -> RVec<u8> {
    pack(value).unwrap_or_else(|error| panic!("the value cannot be encoded: {error}")).into()
}

/// The value of a `#[data(serde)]` type with this FFI form. No call uses it.
///
/// # Panics
///
/// - If serde cannot decode the value.
pub fn from_ffi<T: DeserializeOwned>(ffi: &RVec<u8>) -> T {
    unpack(ffi).unwrap_or_else(|error| panic!("the value cannot be decoded: {error}"))
}

// With `human_readable`, nested values of such types are not packed a second time.
fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>, rmp_serde::encode::Error> {
    let mut bytes = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value.serialize(&mut serializer)?;
    Ok(bytes)
}

// rmp-serde counts the levels of arrays and maps only. The levels of options, newtypes and enums take stack, too.
fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unread> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    let bound = Bound::of_part();
    match T::deserialize(Bounded::new(&mut deserializer, &bound)) {
        Ok(value) if rest.is_empty() => Ok(value),
        Ok(_) => Err(Unread::Left(rest.len())),
        Err(rmp_serde::decode::Error::DepthLimitExceeded) => Err(Unread::TooDeep),
        Err(_) if bound.was_exceeded() => Err(Unread::TooDeep),
        Err(error) => Err(Unread::Rejected(error.to_string())),
    }
}
