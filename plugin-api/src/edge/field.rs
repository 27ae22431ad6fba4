//! Encodes the fields of `#[data]` types whose types serde does not encode as calls need it. The macro names this module
//! in `#[serde(with = "..")]`.

use crate::Data;
use serde::{Deserializer, Serializer};

/// Encodes a field.
///
/// # Errors
///
/// - The serializer's error.
pub fn serialize<T: Data, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    value.serialize_data(serializer)
}

/// Decodes a field.
///
/// # Errors
///
/// - The deserializer's error.
pub fn deserialize<'de, T: Data, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    T::deserialize_data(deserializer)
}
