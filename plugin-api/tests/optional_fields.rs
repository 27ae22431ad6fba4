//! Tests optional fields of `#[data]` types that calls encode in a form of their own, which serde's derive does not know.

#![expect(unused_parens, reason = "the macro must see through the parentheses around a type")]

use replug_api::{
    Data,
    serde_json::{self, Value, json},
};
use std::{
    fmt::Debug,
    path::PathBuf,
    time::{Duration, SystemTime},
};

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Entry(Option<SystemTime>, u64);

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Last(u64, Option<PathBuf>);

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
#[serde(transparent)]
struct Only(Option<PathBuf>);

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
#[serde(transparent)]
struct OnlyNamed {
    path: Option<PathBuf>,
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
enum Variant {
    Tuple(u8, Option<u128>),
    Named { size: Option<u128> },
}

/// The compiler puts the types of fields that come from a macro into invisible groups.
macro_rules! structure {
    ($name:ident, $ty:ty) => {
        #[replug_api::data]
        #[derive(Clone, Debug, PartialEq)]
        struct $name {
            path: $ty,
        }
    };
}

structure!(Grouped, Option<PathBuf>);

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
struct Parenthesized {
    path: (Option<PathBuf>),
}

fn survives<T: Data + Clone + Debug + PartialEq>(value: T, as_json: Value) {
    assert_eq!(T::from_ffi(value.clone().into_ffi()), value);
    assert_eq!(serde_json::to_value(&value).expect("JSON"), as_json);
    assert_eq!(serde_json::from_value::<T>(as_json).expect("JSON"), value);
    let bytes = postcard::to_stdvec(&value).expect("postcard");
    assert_eq!(postcard::from_bytes::<T>(&bytes).expect("postcard"), value);
}

fn read<T: Data>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn optional_elements_of_tuples_survive_and_cannot_be_missing() {
    let time = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let encoded = serde_json::to_value(Entry(Some(time), 1)).expect("JSON");
    survives(Entry(Some(time), 1), encoded);
    survives(Entry(None, 1), json!([null, 1]));
    survives(Last(1, None), json!([1, null]));
    survives(Last(1, Some("/x".into())), json!([1, "/x"]));
    survives(Variant::Tuple(1, None), json!({ "Tuple": [1, null] }));
    for (error, len) in [
        (read::<Last>("[1]").map(drop).unwrap_err(), "invalid length 1"),
        (read::<Variant>(r#"{"Tuple": [1]}"#).map(drop).unwrap_err(), "invalid length 1"),
    ] {
        assert!(error.starts_with(len), "{error}");
    }
}

#[test]
fn an_optional_field_of_a_transparent_type_is_the_value() {
    survives(Only(None), json!(null));
    survives(Only(Some("/x".into())), json!("/x"));
    survives(OnlyNamed { path: None }, json!(null));
    survives(OnlyNamed { path: Some("/x".into()) }, json!("/x"));
}

#[test]
fn an_absent_field_with_a_name_is_read_as_none() {
    assert_eq!(read("{}"), Ok(Grouped { path: None }));
    assert_eq!(read("{}"), Ok(Parenthesized { path: None }));
    assert_eq!(read(r#"{"Named": {}}"#), Ok(Variant::Named { size: None }));
}
