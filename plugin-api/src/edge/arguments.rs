//! Encoded calls: decodes arguments from JSON or postcard, reports errors in them, and encodes results.

use super::shallow::{Reader, StackLimit};
use crate::{
    Data,
    abi::{Encoding, Refusal},
};
use abi_stable::std_types::RVec;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// Whether a method has exactly one parameter, which is a text. If so, a bare JSON string is a valid form of the
/// arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// The only parameter is a text.
    Text,
    /// There is no parameter, there are several, or the only one is not a text.
    No,
}

/// The arguments of one encoded call, read one after the other.
pub struct Arguments<'a> {
    names: &'static [&'static str],
    taken: usize,
    source: Source<'a>,
}

enum Source<'a> {
    /// The text of each argument. Each text is parsed only once, into the parameter's type.
    Json(std::vec::IntoIter<&'a RawValue>),
    Binary(Reader<'a>),
}

impl<'a> Arguments<'a> {
    /// Parses the arguments of a method whose parameters have these names.
    ///
    /// # Errors
    ///
    /// - [`Refusal::BadArguments`] if JSON arguments are not valid JSON, or if there are too few or too many of them.
    pub fn read(
        encoding: Encoding,
        bytes: &'a [u8],
        names: &'static [&'static str],
        alone: Alone,
    ) -> Result<Self, Refusal> {
        let source = match encoding {
            Encoding::Binary => Source::Binary(Reader::new(bytes, StackLimit::USUAL)),
            Encoding::Json => Source::Json(in_order(bytes, names, alone).map_err(bad)?.into_iter()),
        };
        Ok(Self { names, taken: 0, source })
    }

    /// Reads the next argument.
    ///
    /// # Errors
    ///
    /// - [`Refusal::BadArguments`] if the argument is not a `T`.
    pub fn take<T: Data>(&mut self) -> Result<T, Refusal> {
        self.decode()
    }

    /// Reads the next argument as bytes. In JSON, the argument is a list of numbers, or a string, which stands for its
    /// UTF-8 bytes.
    ///
    /// # Errors
    ///
    /// - As for [`Arguments::take`].
    pub fn take_bytes(&mut self) -> Result<Vec<u8>, Refusal> {
        self.decode::<Bytes>().map(|bytes| bytes.0)
    }

    fn decode<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let name = self.names.get(self.taken).copied().unwrap_or_default();
        self.taken += 1;
        match &mut self.source {
            Source::Json(values) => serde_json::from_str(values.next().map_or("null", RawValue::get))
                .map_err(|e| bad(format!("argument `{name}`: {}", without_position(&e)))),
            Source::Binary(input) => input.value().map_err(|e| bad(format!("argument `{name}`: {e}"))),
        }
    }

    /// Checks that the arguments have no trailing bytes.
    ///
    /// # Errors
    ///
    /// - [`Refusal::BadArguments`] if bytes are left after the last parameter.
    pub fn end(self) -> Result<(), Refusal> {
        let Source::Binary(input) = self.source else { return Ok(()) };
        input.end().map_err(|error| bad(format!("{error} after {}", listed(self.names))))
    }
}

fn bad(message: String) -> Refusal {
    Refusal::BadArguments(message.into())
}

/// `arguments a, b`, `argument a` or `no arguments`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "no arguments".into(),
        [one] => format!("argument {one}"),
        many => format!("arguments {}", many.join(", ")),
    }
}

fn expected(names: &[&str]) -> String {
    if names.is_empty() { "takes no arguments".into() } else { format!("expected {}", names.join(", ")) }
}

/// The text of an error of serde_json without the position. The position is relative to the argument, but a caller
/// would read it as relative to the text of all arguments.
fn without_position(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&position).map_or_else(|| text.clone(), str::to_owned)
}

/// The JSON arguments in the order of the parameters.
fn in_order<'a>(bytes: &'a [u8], names: &[&str], alone: Alone) -> Result<Vec<&'a RawValue>, String> {
    let not_json = |error| format!("the arguments are not JSON: {error}");
    let bytes = bytes.trim_ascii();
    match bytes.first() {
        Some(b'[') => by_position(serde_json::from_slice(bytes).map_err(not_json)?, names),
        Some(b'{') => {
            let mut reader = serde_json::Deserializer::from_slice(bytes);
            let given = reader.deserialize_map(ByName { names });
            let given = given.and_then(|given| reader.end().map(|()| given)).map_err(not_json)?;
            by_name(given, names)
        }
        Some(b'"') if alone == Alone::Text => Ok(vec![serde_json::from_slice(bytes).map_err(not_json)?]),
        None => by_name(Given::new(names), names),
        Some(_) => match serde_json::from_slice(bytes).map_err(not_json)? {
            Some(IgnoredAny) => Err(format!(
                "the arguments must be a JSON object by name or an array by position ({})",
                expected(names)
            )),
            None => by_name(Given::new(names), names),
        },
    }
}

/// The arguments in a JSON object.
struct Given<'a> {
    /// The value for each parameter, if there is one. If the object contains a name twice, this is the last value.
    values: Vec<Option<&'a RawValue>>,
    /// The first name that no parameter has.
    extra: Option<String>,
}

impl Given<'_> {
    fn new(names: &[&str]) -> Self {
        Self { values: vec![None; names.len()], extra: None }
    }
}

/// Reads an object into [`Given`].
struct ByName<'n> {
    names: &'n [&'n str],
}

impl<'de> Visitor<'de> for ByName<'_> {
    type Value = Given<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arguments by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given<'de>, A::Error> {
        let mut given = Given::new(self.names);
        while let Some(name) = map.next_key_seed(Name { names: self.names })? {
            match name {
                Ok(at) => given.values[at] = Some(map.next_value()?),
                Err(extra) => {
                    map.next_value::<IgnoredAny>()?;
                    given.extra.get_or_insert(extra);
                }
            }
        }
        Ok(given)
    }
}

/// Reads the name of an argument. The result is the index of the parameter with that name, or the name if there is no
/// such parameter.
struct Name<'n> {
    names: &'n [&'n str],
}

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a parameter")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.names.iter().position(|known| *known == name).ok_or_else(|| name.to_owned()))
    }
}

fn by_name<'a>(given: Given<'a>, names: &[&str]) -> Result<Vec<&'a RawValue>, String> {
    let value = |(value, name): (Option<&'a RawValue>, &&str)| {
        value.ok_or_else(|| format!("missing argument `{name}` ({})", expected(names)))
    };
    let values = given.values.into_iter().zip(names).map(value).collect::<Result<_, _>>()?;
    match given.extra {
        Some(extra) => Err(format!("unexpected argument `{extra}` ({})", expected(names))),
        None => Ok(values),
    }
}

fn by_position<'a>(given: Vec<&'a RawValue>, names: &[&str]) -> Result<Vec<&'a RawValue>, String> {
    if given.len() == names.len() {
        return Ok(given);
    }
    let takes = match names {
        [] => "no arguments".to_owned(),
        [one] => format!("1 argument ({one})"),
        many => format!("{} arguments ({})", many.len(), many.join(", ")),
    };
    Err(format!("takes {takes}, {} given", given.len()))
}

/// Encodes a result.
///
/// # Errors
///
/// - [`Refusal::BadResult`] if the encoding cannot represent the value. JSON cannot represent a map whose keys are not
///   text, or an infinite number.
pub(super) fn answer<T: Data>(encoding: Encoding, value: &T) -> Result<RVec<u8>, Refusal> {
    let encoded = match encoding {
        Encoding::Json => as_json(value),
        Encoding::Binary => postcard::to_stdvec(value).map_err(|e| e.to_string()),
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
/// JSON cannot represent makes the encoding smaller, or cannot be read back.
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

/// The type that [`Arguments::take_bytes`] reads.
struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes, as a list of numbers or a string")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Bytes, E> {
                Ok(Bytes(text.as_bytes().to_vec()))
            }

            fn visit_string<E>(self, text: String) -> Result<Bytes, E> {
                Ok(Bytes(text.into_bytes()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes(bytes))
            }
        }
        // Postcard encodes bytes and a list of `u8` in the same way, so this reads both without a loop.
        deserializer.deserialize_byte_buf(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Nested lists, with any depth.
    #[derive(Deserialize)]
    struct Nest(Vec<Nest>);

    impl Nest {
        fn depth(&self) -> usize {
            1 + self.0.first().map_or(0, Self::depth)
        }
    }

    /// The depth of the first argument.
    fn taken(encoding: Encoding, depth: usize) -> Result<usize, String> {
        let bytes = match encoding {
            Encoding::Binary => [vec![1; depth - 1], vec![0]].concat(),
            Encoding::Json => ["[".repeat(depth + 1), "]".repeat(depth + 1)].concat().into_bytes(),
        };
        let nest = Arguments::read(encoding, &bytes, &["nest"], Alone::No)
            .and_then(|mut arguments| arguments.decode::<Nest>());
        nest.map(|nest| nest.depth()).map_err(|refusal| match refusal {
            Refusal::BadArguments(message) => message.into_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn nested_arguments_are_rejected_before_the_stack_overflows() {
        let all_depths = || {
            for (encoding, reason) in [
                (Encoding::Binary, "argument `nest`: it is nested too deeply to be read"),
                (Encoding::Json, "argument `nest`: recursion limit exceeded"),
            ] {
                assert_eq!(taken(encoding, 100), Ok(100), "moderate nesting is decoded");
                for depth in (101..4096).step_by(19).chain([10_000_000]) {
                    match taken(encoding, depth) {
                        Ok(found) => assert!(found == depth && depth < 10_000_000, "{depth}"),
                        Err(message) => assert!(message.starts_with(reason), "{depth}: {message}"),
                    }
                }
            }
        };
        thread::Builder::new().stack_size(2 << 20).spawn(all_depths).unwrap().join().unwrap();
    }
}
