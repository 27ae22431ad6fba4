//! Values of `#[data(serde)]` types. They cross the boundary encoded, also in process: a call whose signature contains
//! such a type passes its encoded arguments through the encoded entry of the interface.
//!
//! In JSON, serde's implementations encode such a value. In the binary encoding, it is a byte string that contains
//! MessagePack, because serde's implementations may need an encoding with field names.

use super::{
    Signature,
    shallow::{ShallowRead, is_reading},
};
use crate::abi::{Encoding, Refusal};
use abi_stable::{
    StableAbi,
    std_types::{RSlice, RVec},
    type_layout::TypeLayout,
};
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _, Visitor},
    ser::Error as _,
};
use std::{cell::RefCell, fmt, marker::PhantomData, mem::ManuallyDrop};

/// The maximum depth of arrays and maps in a value. It is that of serde_json. The stack bounds other nested values.
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
            unpack(bytes).map_err(|error| {
                let why = reason(&error);
                if is_reading() {
                    keep_reason(bytes, why.clone());
                }
                E::custom(why)
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
    static REASON: RefCell<ManuallyDrop<Option<(usize, String)>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

/// An input's own error says enough.
fn reason(error: &rmp_serde::decode::Error) -> String {
    use rmp_serde::decode::Error;
    match error {
        Error::InvalidMarkerRead(error) | Error::InvalidDataRead(error) if error.get_ref().is_some() => {
            error.to_string()
        }
        other => other.to_string(),
    }
}

#[cold]
fn keep_reason(bytes: &[u8], why: String) {
    let reason = Some((bytes.as_ptr().addr(), why));
    drop(ManuallyDrop::into_inner(REASON.replace(ManuallyDrop::new(reason))));
}

/// Why the calling thread could not decode a value of a `#[data(serde)]` type in these bytes. Returns the reason once.
#[cold]
pub(super) fn take_reason(bytes: &[u8]) -> Option<String> {
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

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, rmp_serde::decode::Error> {
    let mut rest = ShallowRead::new(bytes);
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest).with_human_readable();
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer)?;
    match rest.left() {
        0 => Ok(value),
        left => Err(rmp_serde::decode::Error::custom(format_args!("{left} trailing bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::shallow::{StackLimit, Unread, read};
    use serde::Deserialize;

    /// Values of this type nest without arrays and maps of more than one level each.
    #[derive(Deserialize)]
    enum Expression {
        Not(Box<Expression>),
        Negated(Box<Wrapped>),
        Leaf,
    }

    #[derive(Deserialize)]
    struct Wrapped(Option<Expression>);

    impl Expression {
        fn depth(&self) -> usize {
            match self {
                Self::Not(inner) => 1 + inner.depth(),
                Self::Negated(inner) => 1 + inner.0.as_ref().map_or(0, Self::depth),
                Self::Leaf => 0,
            }
        }
    }

    struct Sent(Expression);

    impl<'de> Deserialize<'de> for Sent {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserialize(deserializer).map(Self)
        }
    }

    /// The encoding of so many variants in each other.
    fn nested(variant: &str, depth: usize) -> Vec<u8> {
        let of = |name: &str| {
            [&[0xa0 | u8::try_from(name.len()).expect("a short name")], name.as_bytes()].concat()
        };
        let level = [vec![0x81], of(variant)].concat();
        let blob = [level.repeat(depth), of("Leaf")].concat();
        [postcard::to_stdvec(&blob.len()).expect("a number"), blob].concat()
    }

    #[test]
    fn deeply_nested_variants_are_rejected_before_the_stack_overflows() {
        for variant in ["Not", "Negated"] {
            for kib in [64, 256, 2048] {
                let limit = StackLimit::of_thread(Some(kib << 10));
                let decode = move || {
                    assert_eq!(
                        read::<Sent>(&nested(variant, 5), limit).expect("a shallow value").0.depth(),
                        5
                    );
                    for depth in (10..2000).step_by(50).chain([1_000_000]) {
                        match read::<Sent>(&nested(variant, depth), limit) {
                            Ok(value) => assert!(value.0.depth() == depth && depth < 1_000_000),
                            Err(Unread::Rejected(why)) => assert_eq!(why, Unread::TooDeep.to_string()),
                            Err(other) => panic!("{other}"),
                        }
                    }
                };
                let thread = std::thread::Builder::new().stack_size(kib << 10).spawn(decode);
                thread.expect("a thread").join().expect("no panic");
            }
        }
    }

    #[test]
    fn a_value_outside_of_a_call_is_bounded_too() {
        let blob = nested("Not", 1_000_000);
        let blob = &blob[blob.iter().position(|byte| *byte == 0x81).expect("a map")..];
        let error = unpack::<Expression>(blob).err().expect("it is nested too deeply");
        assert_eq!(reason(&error), Unread::TooDeep.to_string());
    }
}
