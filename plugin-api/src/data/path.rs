//! [`Data`] for paths. In JSON, a path is a string, or, if it is not UTF-8, the list of its bytes.

use super::Data;
use crate::describe::{Type, Types};
use abi_stable::std_types::RVec;
use serde::{
    Deserializer, Serializer,
    de::{SeqAccess, Visitor},
};
use std::{
    ffi::OsString,
    fmt,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

// SAFETY: 1: a path owns heap memory, and points to nothing else.
unsafe impl Data for PathBuf {
    type Ffi = RVec<u8>;

    fn into_ffi(self) -> RVec<u8> {
        self.into_os_string().into_vec().into()
    }

    fn from_ffi(ffi: RVec<u8>) -> Self {
        OsString::from_vec(ffi.into_vec()).into()
    }

    fn describe(_: &mut Types) -> Type {
        Type::Library("PathBuf".into())
    }

    const BY_SERDE: bool = false;

    fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.to_str() {
            Some(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            _ => serializer.serialize_bytes(self.as_os_str().as_bytes()),
        }
    }

    fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = if deserializer.is_human_readable() {
            deserializer.deserialize_any(Reader)
        } else {
            deserializer.deserialize_byte_buf(Reader)
        };
        bytes.map(|bytes| OsString::from_vec(bytes).into())
    }
}

/// Reads the bytes of a path.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path, as a string or a list of bytes")
    }

    fn visit_str<E>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.into())
    }

    fn visit_string<E>(self, text: String) -> Result<Vec<u8>, E> {
        Ok(text.into_bytes())
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}
