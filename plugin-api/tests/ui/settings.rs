//! Types that cannot be a configuration or a state.

#[replug_api::config]
union Both {
    a: u8,
    b: i8,
}

#[replug_api::config(default)]
struct Arguments;

#[replug_api::config]
#[derive(Debug, replug_api::serde::Deserialize)]
struct Twice;

#[replug_api::state]
#[derive(Debug, replug_api::serde::Serialize)]
struct AlsoTwice;

#[replug_api::state]
#[serde(crate = "replug_api::serde")]
struct Crate;

#[replug_api::config]
#[replug_api::state]
struct State;

#[replug_api::state]
#[replug_api::config]
struct Config;

#[replug_api::state]
#[replug_api::data]
struct Data;

#[replug_api::state]
fn function() {}

fn main() {}
