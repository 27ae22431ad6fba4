//! A type that is not marked `#[replug_api::data]`: one error for each place of the type in an interface.

use std::collections::{BTreeMap, HashMap};

struct Plain;

#[replug_api::interface]
trait Takes {
    fn take(&self, it: Plain);
    fn take_map(&self, text: &str, it: HashMap<String, Plain>);
    fn take_list(&self, first: u8, it: Vec<Plain>, last: u8);
}

#[replug_api::interface]
trait Gives {
    fn give(&self) -> Plain;
    fn give_map(&self) -> BTreeMap<u8, Vec<Plain>>;
    fn give_tuple(&self) -> (u8, Plain);
    fn give_some(&self) -> Option<Plain>;
}

#[replug_api::interface]
trait Fails {
    fn fail(&self) -> Result<(), Plain>;
    fn give_or_fail(&self, it: Plain) -> Result<Box<Plain>, Vec<Plain>>;
}

fn main() {}
