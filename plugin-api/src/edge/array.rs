//! Reads a JSON array whose elements have different types, in one pass: each element is parsed directly into its type.

use super::whole_number;
use serde::de::DeserializeOwned;
use serde_json::Deserializer;

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
        let is_text = rest.is_ascii() || str::from_utf8(rest).is_ok();
        is_text.then_some(Self { whole, rest, is_at_first: true })
    }

    /// All bytes of the array.
    pub(super) fn whole(&self) -> &'a [u8] {
        self.whole
    }

    /// Reads the next element. `None` if there is none, if a comma is missing, or if what follows is not JSON or not a
    /// `T`. In each of these cases, nothing more can be read: all later calls return `None`, and `has_ended` returns
    /// false.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Option<T> {
        let next = self.at_next();
        self.rest = &[];
        let rest = next?;
        let mut values = Deserializer::from_slice(rest).into_iter();
        let value = values.next()?.ok()?;
        (self.rest, self.is_at_first) = (&rest[values.byte_offset()..], false);
        Some(value)
    }

    /// Reads the next element if it is a whole number that `convert` accepts. Otherwise, the element has not been read.
    #[inline]
    pub(super) fn next_whole_number<T>(&mut self, convert: impl FnOnce(u64) -> Option<T>) -> Option<T> {
        let (number, rest) = whole_number::leading(self.at_next()?)?;
        let value = convert(number)?;
        (self.rest, self.is_at_first) = (rest, false);
        Some(value)
    }

    /// What has not been read, from the next element on. `None` if this is not the first element and no comma precedes
    /// it.
    #[inline]
    fn at_next(&self) -> Option<&'a [u8]> {
        let rest = without_space(self.rest);
        if self.is_at_first { Some(rest) } else { rest.strip_prefix(b",").map(without_space) }
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
    fn a_whole_number_is_read_only_if_it_is_accepted() {
        let mut array = Array::begin(b"[ 300, 7 ,\"8\"]").unwrap();
        let byte = |array: &mut Array<'_>| array.next_whole_number(|number| u8::try_from(number).ok());
        assert_eq!(byte(&mut array), None);
        assert_eq!(array.next_whole_number(Some), Some(300));
        assert_eq!(byte(&mut array), Some(7));
        assert_eq!(byte(&mut array), None);
        assert_eq!(array.next(), Some("8".to_owned()));
        assert!(array.has_ended());
        assert_eq!(array.next_whole_number(Some), None);
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
