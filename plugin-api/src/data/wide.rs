//! [`Data`] for integers of 128 bits. In JSON, an integer that does not fit 64 bits is a string, because most readers of
//! JSON round such a number.

use super::Data;
use crate::describe::{Type, Types};
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, Unexpected, Visitor},
};
use std::{
    fmt,
    num::{NonZeroI128, NonZeroU128},
};

/// The two halves of an integer, the lower one first.
type Halves = [u64; 2];

/// How JSON contains an integer.
enum Written {
    Unsigned(u64),
    Signed(i64),
    Text(String),
}

impl Serialize for Written {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unsigned(number) => serializer.serialize_u64(*number),
            Self::Signed(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

macro_rules! wide {
    ($($ty:ident, $non_zero:ident, $reader:ident: $what:literal, |$number:ident| $written:expr;)*) => {$(
        /// Reads a number, or a string that contains one.
        struct $reader;

        #[allow(clippy::useless_conversion, reason = "for one of the two types of the macro, the argument already has that type")]
        impl Visitor<'_> for $reader {
            type Value = $ty;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($what, ", as a string if it does not fit 64 bits"))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<$ty, E> {
                Ok(number.into())
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<$ty, E> {
                number.try_into().map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
            }

            fn visit_u128<E: Error>(self, number: u128) -> Result<$ty, E> {
                number.try_into().map_err(|_| E::invalid_value(Unexpected::Other("a larger integer"), &self))
            }

            fn visit_i128<E: Error>(self, number: i128) -> Result<$ty, E> {
                number.try_into().map_err(|_| E::invalid_value(Unexpected::Other("a smaller integer"), &self))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<$ty, E> {
                text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        // SAFETY: 1: a number contains no pointer.
        unsafe impl Data for $ty {
            type Ffi = Halves;

            fn into_ffi(self) -> Halves {
                [self as u64, (self >> 64) as u64]
            }

            fn from_ffi([low, high]: Halves) -> Self {
                (Self::from(high) << 64) | Self::from(low)
            }

            fn describe(_: &mut Types) -> Type {
                Type::Number(stringify!($ty).into())
            }

            fn from_whole_number(number: u64) -> Option<Self> {
                Some(number.into())
            }

            const BY_SERDE: bool = false;

            fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if !serializer.is_human_readable() {
                    return self.serialize(serializer);
                }
                let $number = *self;
                $written.unwrap_or_else(|_| Written::Text(self.to_string())).serialize(serializer)
            }

            fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    deserializer.deserialize_any($reader)
                } else {
                    Self::deserialize(deserializer)
                }
            }
        }

        // SAFETY: 1: a number contains no pointer.
        unsafe impl Data for $non_zero {
            type Ffi = Halves;

            fn into_ffi(self) -> Halves {
                self.get().into_ffi()
            }

            // The other side makes the number from a value of the same type, so it is not zero.
            fn from_ffi(ffi: Halves) -> Self {
                Self::new(Data::from_ffi(ffi)).unwrap_or(Self::MIN)
            }

            fn describe(_: &mut Types) -> Type {
                Type::Number(stringify!($non_zero).into())
            }

            fn from_whole_number(number: u64) -> Option<Self> {
                Self::new(number.into())
            }

            const BY_SERDE: bool = false;

            fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.get().serialize_data(serializer)
            }

            fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let zero = || D::Error::invalid_value(Unexpected::Unsigned(0), &concat!("a nonzero ", stringify!($ty)));
                $ty::deserialize_data(deserializer).and_then(|number| Self::new(number).ok_or_else(zero))
            }
        }
    )*};
}

wide! {
    u128, NonZeroU128, Unsigned: "a whole number from 0 to 2^128 - 1", |number| u64::try_from(number).map(Written::Unsigned);
    i128, NonZeroI128, Signed: "a whole number from -2^127 to 2^127 - 1", |number| {
        i64::try_from(number).map(Written::Signed).or_else(|_| u64::try_from(number).map(Written::Unsigned))
    };
}
