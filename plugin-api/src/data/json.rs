//! [`Data`] for JSON values. In the binary encoding, which cannot describe itself, a value is a [`Json`].

use super::{Data, coded::Elements};
use crate::describe::{Type, Types};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Number, Value};

/// A JSON value.
#[crate::data]
pub enum Json {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    /// Another number, which only the feature `arbitrary_precision` of serde_json keeps.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn of_number(number: &Number) -> Self {
        let float = || number.as_f64().filter(|float| Number::from_f64(*float).as_ref() == Some(number));
        if let Some(number) = number.as_u64() {
            Self::Unsigned(number)
        } else if let Some(number) = number.as_i64() {
            Self::Signed(number)
        } else {
            float().map_or_else(|| Self::Number(number.to_string()), Self::Float)
        }
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(value),
            Value::Number(number) => Self::of_number(&number),
            Value::String(text) => Self::Text(text),
            Value::Array(list) => Self::List(list.into_iter().map(Self::from).collect()),
            Value::Object(map) => {
                Self::Object(map.into_iter().map(|(key, value)| (key, value.into())).collect())
            }
        }
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Unsigned(number) => number.into(),
            Json::Signed(number) => number.into(),
            Json::Float(number) => number.into(),
            Json::Number(text) => text.parse().map_or_else(|_| nearest(&text), Self::Number),
            Json::Text(text) => Self::String(text),
            Json::List(list) => Self::Array(list.into_iter().map(Self::from).collect()),
            Json::Object(entries) => {
                let entries = entries.into_iter().map(|(key, value)| (key, value.into()));
                Self::Object(entries.collect::<Map<_, _>>())
            }
        }
    }
}

/// The nearest number to one that only the sender can represent.
fn nearest(text: &str) -> Value {
    text.parse().map_or(Value::Null, |number: f64| number.clamp(f64::MIN, f64::MAX).into())
}

/// Encodes a value like a [`Json`], without a copy.
struct Borrowed<'a>(&'a Value);

impl Serialize for Borrowed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const NAME: &str = "Json";
        match self.0 {
            Value::Null => serializer.serialize_unit_variant(NAME, 0, "Null"),
            Value::Bool(value) => serializer.serialize_newtype_variant(NAME, 1, "Bool", value),
            Value::Number(number) => Json::of_number(number).serialize(serializer),
            Value::String(text) => serializer.serialize_newtype_variant(NAME, 6, "Text", text),
            Value::Array(list) => {
                serializer.serialize_newtype_variant(NAME, 7, "List", &Elements(list.iter().map(Borrowed)))
            }
            Value::Object(map) => {
                let entries = Elements(map.iter().map(|(key, value)| (key, Borrowed(value))));
                serializer.serialize_newtype_variant(NAME, 8, "Object", &entries)
            }
        }
    }
}

// SAFETY: 1: a JSON value owns heap memory, and points to nothing else.
unsafe impl Data for Value {
    type Ffi = <Json as Data>::Ffi;

    fn into_ffi(self) -> Self::Ffi {
        Json::from(self).into_ffi()
    }

    fn from_ffi(ffi: Self::Ffi) -> Self {
        Json::from_ffi(ffi).into()
    }

    fn describe(_: &mut Types) -> Type {
        Type::Library("serde_json::Value".into())
    }

    const BY_SERDE: bool = false;

    fn serialize_data<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.serialize(serializer)
        } else {
            Borrowed(self).serialize(serializer)
        }
    }

    fn deserialize_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Self::deserialize(deserializer)
        } else {
            Json::deserialize(deserializer).map(Self::from)
        }
    }
}
