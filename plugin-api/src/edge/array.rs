//! Reads a JSON array whose elements have different types, in one pass: each element is parsed directly into its type.

use serde::de::DeserializeOwned;
use serde_json::Deserializer;
use std::mem;

/// A JSON array that is being read.
pub(super) struct Array<'a> {
    whole: &'a [u8],
    /// What has not been read yet.
    rest: &'a [u8],
    is_at_first: bool,
}

impl<'a> Array<'a> {
    /// Begins to read these bytes, if they are text that begins like an array.
    #[inline]
    pub(super) fn begin(whole: &'a [u8]) -> Option<Self> {
        let rest = without_space(whole).strip_prefix(b"[")?;
        str::from_utf8(rest).ok()?;
        Some(Self { whole, rest, is_at_first: true })
    }

    /// All bytes of the array.
    pub(super) fn whole(&self) -> &'a [u8] {
        self.whole
    }

    /// Reads the next element. `None` if the array has ended, or if what follows is not JSON or not a `T`; all later
    /// calls then return `None`, too.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut rest = without_space(mem::take(&mut self.rest));
        if !self.is_at_first {
            rest = rest.strip_prefix(b",")?;
        }
        let mut values = Deserializer::from_slice(rest).into_iter();
        let value = values.next()?.ok()?;
        (self.rest, self.is_at_first) = (&rest[values.byte_offset()..], false);
        Some(value)
    }

    /// Whether nothing but the end of the array follows.
    #[inline]
    pub(super) fn has_ended(&self) -> bool {
        without_space(self.rest).strip_prefix(b"]").is_some_and(|after| without_space(after).is_empty())
    }
}

/// The bytes after the white space at their beginning.
#[inline]
fn without_space(bytes: &[u8]) -> &[u8] {
    let space = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t')).count();
    &bytes[space..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_different_types_are_read_in_order() {
        let mut array = Array::begin(b" [ 1 ,\"a,]\",\n[2,3], null ]\t").unwrap();
        assert_eq!(array.next(), Some(1_u8));
        assert_eq!(array.next(), Some("a,]".to_owned()));
        assert!(!array.has_ended());
        assert_eq!(array.next(), Some(vec![2, 3]));
        assert_eq!(array.next(), Some(None::<u8>));
        assert!(array.has_ended());
        assert_eq!(array.next::<u8>(), None);
    }

    #[test]
    fn nothing_is_read_after_an_element_of_the_wrong_type() {
        let mut array = Array::begin(b"[\"1\", 2]").unwrap();
        assert_eq!(array.next::<u8>(), None);
        assert_eq!(array.next::<String>(), None);
        assert!(!array.has_ended());
    }

    #[test]
    fn an_array_ends_with_a_bracket_and_nothing_else() {
        for (json, ends) in [
            ("[1]", true),
            ("[1 ]\r\n", true),
            ("[1", false),
            ("[1,]", false),
            ("[1]]", false),
            ("[1,2]", false),
        ] {
            let mut array = Array::begin(json.as_bytes()).unwrap();
            assert_eq!(array.next(), Some(1), "{json}");
            assert_eq!(array.has_ended(), ends, "{json}");
        }
        assert!(Array::begin(b"[]").unwrap().has_ended());
        assert!(Array::begin(b"{}").is_none());
        assert!(Array::begin(b"[\"\xff\"]").is_none(), "it is not text");
    }

    #[test]
    fn a_missing_comma_ends_the_array() {
        for json in ["[1 2]", "[12", "[1:2]", "[,1]"] {
            let mut array = Array::begin(json.as_bytes()).unwrap();
            let read = [array.next::<u8>(), array.next::<u8>()];
            assert!(read.contains(&None), "{json}");
        }
    }
}
