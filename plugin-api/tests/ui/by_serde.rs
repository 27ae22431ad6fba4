//! Types that cannot be marked `#[data(serde)]`.

#[replug_api::data(json)]
struct Argument;

#[replug_api::data(serde)]
struct Generic<T>(T);

#[replug_api::data(serde)]
#[derive(replug_api::serde::Deserialize)]
struct Twice;

#[replug_api::data(serde)]
union Both {
    a: u8,
}

fn main() {}
