//! A field whose type is not marked `#[replug_api::data]`: one error for each field, at the field. The type implements
//! serde's traits, because the messages of serde's derives are not part of this test.

use std::collections::HashMap;

#[derive(replug_api::serde::Serialize, replug_api::serde::Deserialize)]
#[serde(crate = "replug_api::serde")]
struct Plain;

#[replug_api::data]
struct Fields {
    map: HashMap<String, Plain>,
    marked: Vec<u8>,
}

#[replug_api::data]
enum Variants {
    List(Vec<Plain>),
    Other { it: Plain },
}

#[replug_api::interface]
trait Takes {
    fn take(&self, it: Fields) -> Variants;
}

fn main() {}
