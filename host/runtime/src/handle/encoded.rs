//! Arguments and results of encoded calls: writes and reads their JSON.

use crate::load::parsed;
use replug_api::remote;
use serde_json::{Value, value::RawValue};
use std::{borrow::Cow, io};

/// The size of the buffers for short arguments, which need no allocation.
pub(super) const SHORT: usize = 128;

/// Writes a value as JSON: to `buffer` if it is large enough, and otherwise to a new vector.
#[inline]
pub(super) fn write_json<'a>(value: &Value, buffer: &'a mut [u8; SHORT]) -> Cow<'a, [u8]> {
    let mut filled = Filled { buffer, length: 0 };
    match serde_json::to_writer(&mut filled, value) {
        Ok(()) => {
            let Filled { buffer, length } = filled;
            Cow::Borrowed(&buffer[..length])
        }
        Err(_) => Cow::Owned(serde_json::to_vec(value).expect("a JSON value can be written")),
    }
}

/// A buffer, and how many of its bytes are filled.
struct Filled<'a> {
    buffer: &'a mut [u8; SHORT],
    length: usize,
}

impl io::Write for Filled<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    // JSON is written in parts of few bytes. So this is inlined, and a part of known length is a single store.
    #[inline(always)]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let free = &mut self.buffer[self.length..];
        let Some(place) = free.get_mut(..bytes.len()) else { return Err(io::ErrorKind::WriteZero.into()) };
        place.copy_from_slice(bytes);
        self.length += bytes.len();
        Ok(())
    }

    #[inline]
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Parses JSON.
#[inline]
pub(super) fn read_value(bytes: &[u8]) -> Result<Value, String> {
    match remote::whole_number(bytes) {
        Some(number) => Ok(number.into()),
        None => parsed(bytes).map_err(not_json),
    }
}

/// Checks that the bytes are JSON, and copies them.
pub(super) fn read_raw(bytes: &[u8]) -> Result<Box<RawValue>, String> {
    serde_json::from_slice::<&RawValue>(bytes).map(ToOwned::to_owned).map_err(not_json)
}

#[cold]
fn not_json(error: serde_json::Error) -> String {
    format!("it is not valid JSON: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn arguments_are_written_to_the_buffer_only_if_they_fit() {
        for length in [0, 1, SHORT - 3, SHORT - 2, SHORT - 1, 3 * SHORT] {
            let value = json!("a".repeat(length));
            let mut buffer = [0; SHORT];
            let written = write_json(&value, &mut buffer);
            assert_eq!(matches!(written, Cow::Borrowed(_)), length + 2 <= SHORT, "{length}");
            assert_eq!(*written, *value.to_string().into_bytes(), "{length}");
        }
    }

    #[test]
    fn nested_arguments_are_written_like_serde_json_writes_them() {
        let value = json!([{"a\n\"": [1, -2.5, null, true, u64::MAX]}, [], "\u{e9}\u{1}"]);
        assert_eq!(*write_json(&value, &mut [0; SHORT]), *value.to_string().into_bytes());
    }

    #[test]
    fn results_are_read_like_serde_json_reads_them() {
        for json in
            ["7", "0", "18446744073709551615", "-1", "1.50", "01", "1]", "", "[1,{\"a\":null}]", "\"1\""]
        {
            let expected: Result<Value, _> = serde_json::from_str(json);
            assert_eq!(read_value(json.as_bytes()), expected.map_err(not_json), "{json}");
        }
    }
}
