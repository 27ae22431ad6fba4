//! [`Data`] for numbers, text and the other values without elements.

use super::Data;
use crate::describe::{Type, Types};
use abi_stable::std_types::{RDuration, RString, RVec};
use std::{num, sync::Arc, time::Duration};

macro_rules! as_they_are {
    ($($ty:ty => $described:expr, $from_whole_number:expr;)*) => {$(
        // SAFETY: 1: a number, `bool` or `()` contains no pointer.
        unsafe impl Data for $ty {
            type Ffi = Self;

            #[inline]
            fn into_ffi(self) -> Self {
                self
            }

            #[inline]
            fn from_ffi(ffi: Self) -> Self {
                ffi
            }

            fn describe(_: &mut Types) -> Type {
                $described
            }

            #[inline]
            #[allow(clippy::useless_conversion, reason = "a `u64` is one of the types")]
            fn from_whole_number(number: u64) -> Option<Self> {
                let convert: fn(u64) -> Option<Self> = $from_whole_number;
                convert(number)
            }

            fn list_into_ffi(list: Vec<Self>) -> RVec<Self> {
                list.into()
            }

            fn list_from_ffi(ffi: RVec<Self>) -> Vec<Self> {
                ffi.into_vec()
            }
        }
    )*};
}

macro_rules! numbers {
    ($($ty:ident)* => $from_whole_number:expr) => {
        as_they_are! { $($ty => Type::Number(stringify!($ty).into()), $from_whole_number;)* }
    };
}

numbers! { u8 u16 u32 u64 usize i8 i16 i32 i64 isize => |number| number.try_into().ok() }
// Like serde_json, this rounds a number that has no exact representation.
numbers! { f32 f64 => |number| Some(number as Self) }

as_they_are! {
    bool => Type::Bool, |_| None;
    () => Type::Unit, |_| None;
}

// SAFETY: 1: a `char` contains no pointer.
unsafe impl Data for char {
    type Ffi = u32;

    fn into_ffi(self) -> u32 {
        self.into()
    }

    fn from_ffi(ffi: u32) -> Self {
        Self::from_u32(ffi).unwrap_or(Self::REPLACEMENT_CHARACTER)
    }

    fn describe(_: &mut Types) -> Type {
        Type::Char
    }
}

macro_rules! non_zero {
    ($($ty:ident as $ffi:ident)*) => {$(
        // SAFETY: 1: a number contains no pointer.
        unsafe impl Data for num::$ty {
            type Ffi = $ffi;

            #[inline]
            fn into_ffi(self) -> $ffi {
                self.get()
            }

            // The other side makes the number from a value of the same type, so it is not zero.
            #[inline]
            fn from_ffi(ffi: $ffi) -> Self {
                Self::new(ffi).unwrap_or(Self::MIN)
            }

            fn describe(_: &mut Types) -> Type {
                Type::Number(stringify!($ty).into())
            }

            #[inline]
            fn from_whole_number(number: u64) -> Option<Self> {
                $ffi::from_whole_number(number).and_then(Self::new)
            }
        }
    )*};
}

non_zero! {
    NonZeroU8 as u8
    NonZeroU16 as u16
    NonZeroU32 as u32
    NonZeroU64 as u64
    NonZeroUsize as usize
    NonZeroI8 as i8
    NonZeroI16 as i16
    NonZeroI32 as i32
    NonZeroI64 as i64
    NonZeroIsize as isize
}

// SAFETY: 1: a `String` owns heap memory, and points to nothing else.
unsafe impl Data for String {
    type Ffi = RString;

    fn into_ffi(self) -> RString {
        self.into()
    }

    fn from_ffi(ffi: RString) -> Self {
        ffi.into_string()
    }

    fn describe(_: &mut Types) -> Type {
        Type::String
    }
}

macro_rules! as_a_string {
    ($($ty:ty: $into:expr;)*) => {$(
        // SAFETY: 1: the text is in heap memory that the library which runs `from_ffi` has allocated.
        unsafe impl Data for $ty {
            type Ffi = RString;

            fn into_ffi(self) -> RString {
                let into: fn(Self) -> RString = $into;
                into(self)
            }

            fn from_ffi(ffi: RString) -> Self {
                ffi.into_string().into()
            }

            fn describe(_: &mut Types) -> Type {
                Type::String
            }
        }
    )*};
}

as_a_string! {
    Box<str>: |text| text.into_string().into();
    Arc<str>: |text| text.as_ref().into();
}

// SAFETY: 1: a `Duration` contains no pointer.
unsafe impl Data for Duration {
    type Ffi = RDuration;

    fn into_ffi(self) -> RDuration {
        self.into()
    }

    fn from_ffi(ffi: RDuration) -> Self {
        ffi.into()
    }

    fn describe(_: &mut Types) -> Type {
        Type::Duration
    }
}
