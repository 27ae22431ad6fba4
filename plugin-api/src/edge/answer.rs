//! Encodes the results of encoded calls.

use crate::{
    Data,
    abi::{Encoding, Refusal},
    data::{Coded, CodedRef, reason},
};
use std::mem;

/// The number of bytes that are allocated at first for a result. Many results fit.
const SHORT: usize = 128;

/// Writes an encoded result to `bytes`, which is empty.
///
/// # Errors
///
/// - [`Refusal::BadResult`] if the encoding cannot represent the value. JSON cannot represent a map whose keys are not
///   text, or an infinite number.
pub(super) fn answer<T: Data>(encoding: Encoding, value: &T, bytes: &mut Vec<u8>) -> Result<(), Refusal> {
    *bytes = Vec::with_capacity(SHORT);
    let written = match encoding {
        Encoding::Json => write_json(value, bytes),
        Encoding::Binary => write_binary(value, bytes),
    };
    written.map_err(|e| Refusal::BadResult(e.into()))
}

fn write_binary<T: Data>(value: &T, bytes: &mut Vec<u8>) -> Result<(), String> {
    let value = &CodedRef(value);
    *bytes = postcard::to_extend(value, mem::take(bytes)).map_err(|error| reason(&error, value))?;
    Ok(())
}

/// Writes a value as JSON, and returns an error if the JSON would represent another value. serde_json writes `null`
/// for some values that JSON cannot represent, such as an infinite number.
fn write_json<T: Data>(value: &T, json: &mut Vec<u8>) -> Result<(), String> {
    serde_json::to_writer(&mut *json, &CodedRef(value)).map_err(|e| e.to_string())?;
    if json.windows(4).any(|word| word == b"null") && !is_read_back(json, value) {
        let text = "JSON cannot represent a part of the result (an infinite number or NaN, a `Some` around a \
                    `None`): return another type, or call through a typed handle";
        return Err(text.into());
    }
    Ok(())
}

/// Whether the JSON can be read back as a value whose postcard encoding has the same size. A `null` for a value that
/// JSON cannot represent makes the postcard encoding smaller, or cannot be read back.
fn is_read_back<T: Data>(json: &[u8], value: &T) -> bool {
    let size = |value: &T| postcard::to_stdvec(&CodedRef(value)).map(|bytes| bytes.len());
    serde_json::from_slice::<Coded<T>>(json).is_ok_and(|Coded(back)| size(&back).ok() == size(value).ok())
}

/// Writes the encoded result of a method that can fail to `bytes`, which is empty.
///
/// # Errors
///
/// - [`Refusal::Error`] with the encoded error if there is one.
/// - [`Refusal::BadResult`] as for [`answer`].
pub(super) fn answer_fallible<T: Data, E: Data>(
    encoding: Encoding,
    result: &Result<T, E>,
    bytes: &mut Vec<u8>,
) -> Result<(), Refusal> {
    match result {
        Ok(value) => answer(encoding, value, bytes),
        Err(error) => {
            answer(encoding, error, bytes)?;
            Err(Refusal::Error(mem::take(bytes).into()))
        }
    }
}
