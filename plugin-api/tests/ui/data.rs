//! Types that cannot be data.

#[replug_api::data]
union Both {
    a: u8,
    b: i8,
}

#[replug_api::data]
struct Generic<T> {
    value: T,
}

#[replug_api::data]
struct Borrowing<'a> {
    text: &'a str,
}

#[replug_api::data]
struct Static {
    text: &'static str,
}

#[replug_api::data]
enum Empty {}

#[replug_api::data]
#[derive(Debug, replug_api::serde::Serialize)]
struct Twice;

#[replug_api::data]
struct Skips {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value: Option<u8>,
}

#[replug_api::data]
#[serde(untagged)]
enum Untagged {
    A(u8),
}

#[replug_api::data]
#[serde(rename_all = "camelcase")]
struct Renamed {
    a_value: u8,
}

#[replug_api::data]
struct InTwoWays {
    #[serde(rename(serialize = "a", deserialize = "b"))]
    a_value: u8,
}

#[replug_api::data]
fn not_a_type() {}

#[replug_api::data(fast)]
struct Arguments;

fn main() {}
