//! Encodes values of [`Data`]. serde's implementations encode most types. A few types have another form in encodings,
//! and so have the types that contain them.

use super::Data;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
    ser::SerializeTuple,
};
use std::{fmt, marker::PhantomData};

/// A value that is decoded in the form that its type has in encodings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Coded<T>(pub(crate) T);

impl<T> Coded<T> {
    /// The value.
    #[inline]
    pub(crate) fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Data> Serialize for Coded<T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_data(serializer)
    }
}

impl<'de, T: Data> Deserialize<'de> for Coded<T> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize_data(deserializer).map(Self)
    }
}

/// A value that is encoded in the form that its type has in encodings.
pub(crate) struct CodedRef<'a, T>(pub(crate) &'a T);

impl<T: Data> Serialize for CodedRef<'_, T> {
    #[inline]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_data(serializer)
    }
}

/// Why postcard could not encode a value. postcard does not keep the reason of serde's implementations.
#[cold]
pub(crate) fn reason<T: Serialize + ?Sized>(error: &postcard::Error, value: &T) -> String {
    let by_serde = match error {
        postcard::Error::SerdeSerCustom => rmp_serde::to_vec(value).err(),
        _ => None,
    };
    by_serde.map_or_else(|| error.to_string(), |error| error.to_string())
}

/// The elements of a list or a set.
pub(super) struct Elements<I>(pub(super) I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Elements<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// The entries of a map.
pub(super) struct Entries<I>(pub(super) I);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)> + Clone> Serialize for Entries<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}

/// The elements of an array, which serde encodes as a tuple.
pub(super) struct Array<T, const N: usize>(pub(super) [T; N]);

impl<T: Serialize, const N: usize> Serialize for Array<T, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N)?;
        for element in &self.0 {
            tuple.serialize_element(element)?;
        }
        tuple.end()
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Array<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reader<T, N> {
            type Value = Array<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of length {N}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::with_capacity(N);
                while elements.len() < N {
                    let Some(element) = seq.next_element()? else { break };
                    elements.push(element);
                }
                let array = elements.try_into();
                array.map(Array).map_err(|few: Vec<T>| A::Error::invalid_length(few.len(), &self))
            }
        }

        deserializer.deserialize_tuple(N, Reader(PhantomData))
    }
}

/// Implements the encoding of a type that contains other data. `$coded` is the same type with [`Coded`] content. The
/// encoding is serde's if serde encodes the content.
macro_rules! coded_like_its_content {
    ($($content:ident),+ as $coded:ty, |$given:ident| $give:expr, |$taken:ident| $take:expr) => {
        const BY_SERDE: bool = true $(&& $content::BY_SERDE)+;

        const SENT_ENCODED: bool = false $(|| $content::SENT_ENCODED)+;

        #[inline]
        fn serialize_data<Output: serde::Serializer>(
            &self,
            serializer: Output,
        ) -> Result<Output::Ok, Output::Error> {
            if Self::BY_SERDE {
                self.serialize(serializer)
            } else {
                let $given = self;
                $give.serialize(serializer)
            }
        }

        #[inline]
        fn deserialize_data<'de, Input: serde::Deserializer<'de>>(
            deserializer: Input,
        ) -> Result<Self, Input::Error> {
            if Self::BY_SERDE {
                Self::deserialize(deserializer)
            } else {
                <$coded>::deserialize(deserializer).map(|$taken| $take)
            }
        }
    };
}
pub(super) use coded_like_its_content;
