//! Encodes the results of encoded calls.

use crate::{
    Data,
    abi::{Encoding, Refusal},
};
use abi_stable::std_types::RVec;

/// The number of bytes that are allocated at first for a binary result. Most results fit.
const SHORT: usize = 32;

/// Encodes a result.
///
/// # Errors
///
/// - [`Refusal::BadResult`] if the encoding cannot represent the value. JSON cannot represent a map whose keys are not
///   text, or an infinite number.
pub(super) fn answer<T: Data>(encoding: Encoding, value: &T) -> Result<RVec<u8>, Refusal> {
    let encoded = match encoding {
        Encoding::Json => as_json(value),
        Encoding::Binary => postcard::to_extend(value, Vec::with_capacity(SHORT)).map_err(|e| e.to_string()),
    };
    encoded.map(RVec::from).map_err(|e| Refusal::BadResult(e.into()))
}

/// Encodes a value as JSON, and returns an error if the JSON would represent another value. serde_json writes `null`
/// for some values that JSON cannot represent, such as an infinite number.
fn as_json<T: Data>(value: &T) -> Result<Vec<u8>, String> {
    let json = serde_json::to_vec(value).map_err(|e| e.to_string())?;
    if json.windows(4).any(|word| word == b"null") && !is_read_back(&json, value) {
        let text = "JSON cannot represent a part of the result (an infinite number or NaN, a `Some` around a \
                    `None`): return another type, or call through a typed handle";
        return Err(text.into());
    }
    Ok(json)
}

/// Whether the JSON can be read back as a value whose postcard encoding has the same size. A `null` for a value that
/// JSON cannot represent makes the postcard encoding smaller, or cannot be read back.
fn is_read_back<T: Data>(json: &[u8], value: &T) -> bool {
    let size = |value: &T| postcard::to_stdvec(value).map(|bytes| bytes.len());
    serde_json::from_slice::<T>(json).is_ok_and(|back| size(&back).ok() == size(value).ok())
}

/// Encodes the result or the error of a method that can fail.
///
/// # Errors
///
/// - [`Refusal::Error`] with the encoded error if there is one.
/// - [`Refusal::BadResult`] as for [`answer`].
pub(super) fn answer_fallible<T: Data, E: Data>(
    encoding: Encoding,
    result: &Result<T, E>,
) -> Result<RVec<u8>, Refusal> {
    match result {
        Ok(value) => answer(encoding, value),
        Err(error) => answer(encoding, error).and_then(|bytes| Err(Refusal::Error(bytes))),
    }
}
