//! [`Data`] for types of other crates, each behind a feature.

use super::Data;
use crate::describe::{Type, Types};
#[cfg(feature = "bytes")]
use abi_stable::std_types::RVec;

// SAFETY: 1: `from_ffi` makes the value from a `Vec`, so its vtable is that of the library which runs `from_ffi`.
#[cfg(feature = "bytes")]
unsafe impl Data for bytes::Bytes {
    type Ffi = RVec<u8>;

    fn into_ffi(self) -> RVec<u8> {
        Vec::from(self).into()
    }

    fn from_ffi(ffi: RVec<u8>) -> Self {
        ffi.into_vec().into()
    }

    fn describe(types: &mut Types) -> Type {
        Vec::<u8>::describe(types)
    }
}

// SAFETY: 1: a UUID contains no pointer.
#[cfg(feature = "uuid")]
unsafe impl Data for uuid::Uuid {
    type Ffi = [u8; 16];

    fn into_ffi(self) -> [u8; 16] {
        self.into_bytes()
    }

    fn from_ffi(ffi: [u8; 16]) -> Self {
        Self::from_bytes(ffi)
    }

    fn describe(_: &mut Types) -> Type {
        Type::Library("Uuid".into())
    }
}
