//! Tests that the macros accept valid methods and types. The compile-fail tests in `ui` contain the invalid ones.

#![expect(
    missing_docs,
    unused_qualifications,
    reason = "an author may leave out comments, and may qualify a name"
)]

use replug_api::{describe, prelude::*};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Mutex,
    time::Duration,
};

/// For each kind of method and type that a test in `ui` shows to be rejected, a similar one that is valid.
#[replug_api::interface]
pub trait Allowed: std::fmt::Debug {
    /// Documented.
    #[must_use]
    fn changes(&self) -> u8;
    fn add(&self, a: u8) -> u8;
    fn add_both(&self, a: u8, b: u8) -> u8;
    fn pair(&self, pair: (u8, u8));
    fn text(&self, text: &str) -> String;
    fn bytes(&self, bytes: &[u8]) -> Vec<u8>;
    fn list(&self, list: Vec<f64>) -> Option<String>;
    fn object(&self, object: String, it: String, method: String, edge: String, arguments: String) -> usize;
    fn fallible(&self) -> Result<u8, std::string::String>;
    fn maps(&self, a: BTreeMap<String, [u8; 3]>, b: HashMap<u64, HashSet<char>>, c: Duration) -> (i8, bool);
    fn own(&self, value: Own) -> std::result::Result<Vec<Kind>, Kind>;
    fn r#match(&self, r#type: u8) -> u8;
}

/// A struct.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Own {
    #[serde(rename = "type", default)]
    kind: Kind,
    tuple: Tuple,
    unit: Unit,
    children: Vec<Own>,
}

#[replug_api::data]
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Kind {
    #[default]
    A,
    B(u8, String),
    C {
        c: Option<Box<Kind>>,
    },
}

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
pub struct Tuple(u8, String);

#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
pub struct Unit;

#[derive(Debug)]
struct It(Mutex<u8>);

impl Plugin for It {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self(Mutex::new(0)))
    }
}

impl Allowed for It {
    fn changes(&self) -> u8 {
        let mut value = self.0.lock().expect("no call has panicked");
        *value += 1;
        *value
    }
    fn add(&self, a: u8) -> u8 {
        a
    }
    fn add_both(&self, a: u8, b: u8) -> u8 {
        a + b
    }
    fn pair(&self, _: (u8, u8)) {}
    fn text(&self, text: &str) -> String {
        text.to_owned()
    }
    fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        bytes.to_vec()
    }
    fn list(&self, _: Vec<f64>) -> Option<String> {
        None
    }
    fn object(&self, object: String, it: String, method: String, edge: String, arguments: String) -> usize {
        object.len() + it.len() + method.len() + edge.len() + arguments.len()
    }
    fn fallible(&self) -> Result<u8, String> {
        Ok(1)
    }
    fn maps(&self, _: BTreeMap<String, [u8; 3]>, _: HashMap<u64, HashSet<char>>, _: Duration) -> (i8, bool) {
        (1, true)
    }
    fn own(&self, value: Own) -> Result<Vec<Kind>, Kind> {
        Err(value.kind)
    }
    fn r#match(&self, r#type: u8) -> u8 {
        r#type
    }
}

#[replug_api::interface]
trait Other {
    fn ping(&self);
}

impl Other for It {
    fn ping(&self) {}
}

replug_api::export!(It: Allowed, Other);

#[test]
fn an_interface_with_all_valid_forms_describes_each_method() {
    let described =
        describe::Interface::of(<dyn Allowed as replug_api::Interface>::EXPORT).expect("described");
    assert_eq!(described.methods.len(), 12);
    assert_eq!(described.methods[11].name, "match");
}
