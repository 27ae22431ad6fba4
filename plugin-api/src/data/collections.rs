//! [`Data`] for types that contain other data: options, results, boxes, tuples, arrays, lists, maps and sets.

use super::{
    Data,
    coded::{Array, Coded, CodedRef, Elements, Entries, coded_like_its_content},
};
use crate::{
    describe::{Type, Types},
    shape::{End, Pair},
};
use abi_stable::std_types::{RBox, ROption, RResult, RVec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    hash::Hash,
};

/// The compiler's error for a list of elements without content. The encoding of such a list is only its length, so a
/// few bytes from another process could make the reader loop for a very long time.
const NOTHING_BUT_A_NUMBER: &str =
    "a list, set or map of elements without content contains only a length: pass the length";

// SAFETY: 1: it is built from values for which 1 holds.
unsafe impl<T: Data> Data for Option<T> {
    type Ffi = ROption<T::Ffi>;

    fn into_ffi(self) -> Self::Ffi {
        self.map(T::into_ffi).into()
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        ffi.into_option().map(T::from_ffi)
    }

    fn describe(types: &mut Types) -> Type {
        Type::Option(Box::new(T::describe(types)))
    }

    #[inline]
    fn from_whole_number(number: u64) -> Option<Self> {
        T::from_whole_number(number).map(Some)
    }

    coded_like_its_content!(T as Option<Coded<T>>, |given| given.as_ref().map(CodedRef), |taken| taken
        .map(Coded::into_inner));
}

// SAFETY: 1: it is built from values for which 1 holds.
unsafe impl<T: Data, E: Data> Data for Result<T, E> {
    type Ffi = RResult<T::Ffi, E::Ffi>;

    fn into_ffi(self) -> Self::Ffi {
        self.map(T::into_ffi).map_err(E::into_ffi).into()
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        ffi.into_result().map(T::from_ffi).map_err(E::from_ffi)
    }

    fn describe(types: &mut Types) -> Type {
        Type::Result(Box::new(T::describe(types)), Box::new(E::describe(types)))
    }

    coded_like_its_content!(
        T,
        E as Result<Coded<T>, Coded<E>>,
        |given| given.as_ref().map(CodedRef).map_err(CodedRef),
        |taken| taken.map(Coded::into_inner).map_err(Coded::into_inner)
    );
}

// SAFETY: 1: it is built from values for which 1 holds.
unsafe impl<T: Data> Data for Box<T> {
    type Ffi = RBox<T::Ffi>;

    fn into_ffi(self) -> Self::Ffi {
        RBox::new(T::into_ffi(*self))
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        Self::new(T::from_ffi(RBox::into_inner(ffi)))
    }

    fn describe(types: &mut Types) -> Type {
        T::describe(types)
    }

    coded_like_its_content!(T as Coded<T>, |given| CodedRef(&**given), |taken| Self::new(taken.into_inner()));
}

// SAFETY: 1: it is built from values for which 1 holds, in heap memory.
unsafe impl<T: Data> Data for Vec<T> {
    type Ffi = RVec<T::Ffi>;

    fn into_ffi(self) -> Self::Ffi {
        T::list_into_ffi(self)
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        T::list_from_ffi(ffi)
    }

    fn describe(types: &mut Types) -> Type {
        const { assert!(size_of::<T>() > 0, "{}", NOTHING_BUT_A_NUMBER) };
        Type::List(Box::new(T::describe(types)))
    }

    coded_like_its_content!(T as Vec<Coded<T>>, |given| Elements(given.iter().map(CodedRef)), |taken| taken
        .into_iter()
        .map(Coded::into_inner)
        .collect());
}

// SAFETY: 1: it is built from values for which 1 holds, in heap memory.
unsafe impl<T: Data> Data for Box<[T]> {
    type Ffi = RVec<T::Ffi>;

    fn into_ffi(self) -> Self::Ffi {
        T::list_into_ffi(self.into_vec())
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        T::list_from_ffi(ffi).into_boxed_slice()
    }

    fn describe(types: &mut Types) -> Type {
        Vec::<T>::describe(types)
    }

    coded_like_its_content!(T as Vec<Coded<T>>, |given| Elements(given.iter().map(CodedRef)), |taken| taken
        .into_iter()
        .map(Coded::into_inner)
        .collect());
}

// SAFETY: 1: it is built from values for which 1 holds.
unsafe impl<T: Data, const N: usize> Data for [T; N]
where
    // serde supports arrays of up to 32 elements.
    Self: Serialize + DeserializeOwned,
{
    type Ffi = [T::Ffi; N];

    fn into_ffi(self) -> Self::Ffi {
        self.map(T::into_ffi)
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        ffi.map(T::from_ffi)
    }

    fn describe(types: &mut Types) -> Type {
        Type::Array(Box::new(T::describe(types)), N)
    }

    coded_like_its_content!(
        T as Array<Coded<T>, N>,
        |given| Array(given.each_ref().map(CodedRef)),
        |taken| taken.0.map(Coded::into_inner)
    );
}

macro_rules! through_a_list {
    ($($collection:ident<$($param:ident),+> where $($key:ident: $bound:ident $(+ $bounds:ident)*)? => $element:ty, |$types:ident| $described:expr, |$given:ident| $give:expr, |$entry:pat_param| $take:expr;)*) => {$(
        // SAFETY: 1: it is built from values for which 1 holds.
        unsafe impl<$($param: Data),+> Data for $collection<$($param),+> where $($key: $bound $(+ $bounds)*)? {
            type Ffi = RVec<<$element as Data>::Ffi>;

            fn into_ffi(self) -> Self::Ffi {
                self.into_iter().map(<$element>::into_ffi).collect()
            }

            fn from_ffi(ffi: Self::Ffi) -> Self {
                ffi.into_iter().map(<$element>::from_ffi).collect()
            }

            fn describe($types: &mut Types) -> Type {
                const { assert!(size_of::<$element>() > 0, "{}", NOTHING_BUT_A_NUMBER) };
                $described
            }

            coded_like_its_content!(
                $($param),+ as $collection<$(Coded<$param>),+>,
                |$given| $give,
                |taken| taken.into_iter().map(|$entry| $take).collect()
            );
        }
    )*};
}

through_a_list! {
    HashSet<T> where T: Eq + Hash => T, |types| Type::List(Box::new(T::describe(types))),
        |set| Elements(set.iter().map(CodedRef)), |Coded(element)| element;
    BTreeSet<T> where T: Ord => T, |types| Type::List(Box::new(T::describe(types))),
        |set| Elements(set.iter().map(CodedRef)), |Coded(element)| element;
    HashMap<K, V> where K: Eq + Hash => (K, V), |types| Type::Map(Box::new(K::describe(types)), Box::new(V::describe(types))),
        |map| Entries(map.iter().map(|(key, value)| (CodedRef(key), CodedRef(value)))),
        |(Coded(key), Coded(value))| (key, value);
    BTreeMap<K, V> where K: Ord => (K, V), |types| Type::Map(Box::new(K::describe(types)), Box::new(V::describe(types))),
        |map| Entries(map.iter().map(|(key, value)| (CodedRef(key), CodedRef(value)))),
        |(Coded(key), Coded(value))| (key, value);
}

/// The type, the value and the pattern of a list of fields.
macro_rules! fields {
    (type) => { End };
    (type $head:ident $($tail:ident)*) => { Pair<$head::Ffi, fields!(type $($tail)*)> };
    (value) => { End };
    (value $head:ident $($tail:ident)*) => { Pair($head.into_ffi(), fields!(value $($tail)*)) };
    (pattern) => { End };
    (pattern $head:ident $($tail:ident)*) => { Pair($head, fields!(pattern $($tail)*)) };
}

macro_rules! tuples {
    ($(($($param:ident $value:ident),+);)*) => {$(
        // SAFETY: 1: it is built from values for which 1 holds.
        unsafe impl<$($param: Data),+> Data for ($($param,)+) {
            type Ffi = fields!(type $($param)+);

            fn into_ffi(self) -> Self::Ffi {
                let ($($value,)+) = self;
                fields!(value $($value)+)
            }

            fn from_ffi(ffi: Self::Ffi) -> Self {
                let fields!(pattern $($value)+) = ffi;
                ($($param::from_ffi($value),)+)
            }

            fn describe(types: &mut Types) -> Type {
                Type::Tuple(vec![$($param::describe(types)),+])
            }

            coded_like_its_content!(
                $($param),+ as ($(Coded<$param>,)+),
                |given| {
                    let ($($value,)+) = given;
                    ($(CodedRef($value),)+)
                },
                |taken| {
                    let ($($value,)+) = taken;
                    ($($value.into_inner(),)+)
                }
            );
        }
    )*};
}

tuples! {
    (A a);
    (A a, B b);
    (A a, B b, C c);
    (A a, B b, C c, D d);
    (A a, B b, C c, D d, E e);
    (A a, B b, C c, D d, E e, F f);
    (A a, B b, C c, D d, E e, F f, G g);
    (A a, B b, C c, D d, E e, F f, G g, H h);
}
