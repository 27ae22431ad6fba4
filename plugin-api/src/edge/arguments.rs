//! Encoded calls: decodes arguments from JSON or postcard, and reports errors in them.

use super::{
    array::Array,
    shallow::{Reader, StackLimit},
};
use crate::{
    Data,
    abi::{Encoding, Refusal},
    data::Coded,
};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};
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

/// The number of arguments up to which a list of their texts needs no allocation.
const INLINE: usize = 2;

/// The JSON texts of all arguments, in the order of the parameters.
type Texts<'a> = SmallVec<[&'a RawValue; INLINE]>;

enum Source<'a> {
    /// A JSON array of arguments.
    Array(Array<'a>),
    /// The JSON text of each argument.
    Texts(smallvec::IntoIter<[&'a RawValue; INLINE]>),
    Binary(Reader<'a>),
    /// JSON that is not a list of arguments, for this reason.
    Unfit(String),
}

impl<'a> Arguments<'a> {
    /// Begins to read the arguments of a method whose parameters have these names. [`Arguments::take`] and
    /// [`Arguments::end`] report errors.
    pub fn read(encoding: Encoding, bytes: &'a [u8], names: &'static [&'static str], alone: Alone) -> Self {
        let source = match encoding {
            Encoding::Binary => Source::Binary(Reader::new(bytes, StackLimit::USUAL)),
            Encoding::Json => match Array::begin(bytes) {
                Some(array) => Source::Array(array),
                None => in_order(bytes, names, alone)
                    .map_or_else(Source::Unfit, |texts| Source::Texts(texts.into_iter())),
            },
        };
        Self { names, taken: 0, source }
    }

    /// Reads the next argument.
    ///
    /// # Errors
    ///
    /// - [`Refusal::BadArguments`] if the argument is not a `T`, if the JSON of the arguments is not valid, or if there
    ///   are too few or too many of them.
    pub fn take<T: Data>(&mut self) -> Result<T, Refusal> {
        if let Source::Array(array) = &mut self.source
            && let Some(value) = array.next_whole_number(T::from_whole_number)
        {
            self.taken += 1;
            return Ok(value);
        }
        self.decode().map(Coded::into_inner)
    }

    /// Reads the next argument as bytes. In JSON, the argument is a list of numbers, or a string, which stands for its
    /// UTF-8 bytes.
    ///
    /// # Errors
    ///
    /// - As for [`Arguments::take`].
    pub fn take_bytes(&mut self) -> Result<Vec<u8>, Refusal> {
        if let Source::Array(array) = &mut self.source
            && let Some(text) = array.next::<Box<RawValue>>()
        {
            // The text is checked first, because serde_json accepts control characters in a string that is read as bytes.
            let value = serde_json::from_str(text.get()).map(|Bytes(bytes)| bytes);
            self.taken += 1;
            return value.map_err(|error| self.bad_argument(self.taken - 1, &without_position(&error)));
        }
        self.decode::<Bytes>().map(|bytes| bytes.0)
    }

    fn decode<T: DeserializeOwned>(&mut self) -> Result<T, Refusal> {
        let at = self.taken;
        self.taken += 1;
        let text = match &mut self.source {
            Source::Binary(input) => {
                return input.value().map_err(|error| self.bad_argument(at, &error));
            }
            Source::Array(array) => match array.next() {
                Some(value) => return Ok(value),
                None => self.texts_of_array()?.get(at).copied(),
            },
            Source::Texts(texts) => texts.next(),
            Source::Unfit(reason) => return Err(bad(reason.clone())),
        };
        let value = serde_json::from_str(text.map_or("null", RawValue::get));
        value.map_err(|error| self.bad_argument(at, &without_position(&error)))
    }

    /// The texts of the arguments in an array. Called if the array cannot be read in one pass, to find the error in it.
    #[cold]
    fn texts_of_array(&self) -> Result<Texts<'a>, Refusal> {
        let Source::Array(array) = &self.source else { return Ok(Texts::new()) };
        in_order(array.whole(), self.names, Alone::No).map_err(bad)
    }

    #[cold]
    fn bad_argument(&self, at: usize, error: &dyn fmt::Display) -> Refusal {
        bad(format!("argument `{}`: {error}", self.names.get(at).copied().unwrap_or_default()))
    }

    /// Checks that the arguments have no trailing bytes.
    ///
    /// # Errors
    ///
    /// - [`Refusal::BadArguments`] if there are more arguments than parameters, if there are bytes after the last
    ///   argument, or if the JSON of the arguments is not valid.
    pub fn end(&self) -> Result<(), Refusal> {
        match &self.source {
            Source::Binary(input) => {
                input.end().map_err(|error| bad(format!("{error} after {}", listed(self.names))))
            }
            Source::Array(array) if !array.has_ended() => self.texts_of_array().map(drop),
            Source::Unfit(reason) => Err(bad(reason.clone())),
            Source::Array(_) | Source::Texts(_) => Ok(()),
        }
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
fn in_order<'a>(bytes: &'a [u8], names: &[&str], alone: Alone) -> Result<Texts<'a>, String> {
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
        Some(b'"') if alone == Alone::Text => Ok(smallvec![serde_json::from_slice(bytes).map_err(not_json)?]),
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
    values: SmallVec<[Option<&'a RawValue>; INLINE]>,
    /// The first name that no parameter has.
    extra: Option<String>,
}

impl Given<'_> {
    fn new(names: &[&str]) -> Self {
        Self { values: smallvec![None; names.len()], extra: None }
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

fn by_name<'a>(given: Given<'a>, names: &[&str]) -> Result<Texts<'a>, String> {
    let value = |(value, name): (Option<&'a RawValue>, &&str)| {
        value.ok_or_else(|| format!("missing argument `{name}` ({})", expected(names)))
    };
    let values = given.values.into_iter().zip(names).map(value).collect::<Result<_, _>>()?;
    match given.extra {
        Some(extra) => Err(format!("unexpected argument `{extra}` ({})", expected(names))),
        None => Ok(values),
    }
}

fn by_position<'a>(given: Texts<'a>, names: &[&str]) -> Result<Texts<'a>, String> {
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
        let nest = Arguments::read(encoding, &bytes, &["nest"], Alone::No).decode::<Nest>();
        nest.map(|nest| nest.depth()).map_err(|refusal| match refusal {
            Refusal::BadArguments(message) => message.into_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn bytes_in_an_array_are_a_list_or_a_valid_string() {
        let taken = |json: &str| {
            let mut arguments = Arguments::read(Encoding::Json, json.as_bytes(), &["bytes"], Alone::No);
            let bytes = arguments.take_bytes()?;
            arguments.end().map(|()| bytes)
        };
        assert_eq!(taken("[[1, 255]]").ok(), Some(vec![1, 255]));
        assert_eq!(taken(r#"["a\nb"]"#).ok(), Some(b"a\nb".to_vec()));
        for bad in ["[\"a\nb\"]", "[[256]]", "[]", "[[1], 2]", "[[1]"] {
            assert!(taken(bad).is_err(), "{bad}");
        }
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
