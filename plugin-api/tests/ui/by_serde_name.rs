//! Types that are marked `#[data(serde)]` and have the name of a type of the standard library.

#[replug_api::data(serde)]
struct HashSet(u8);

#[replug_api::interface]
trait Sets {
    fn add(&self, list: Vec<HashSet>);
    fn all(&self) -> Result<HashSet, String>;
}

fn main() {}
