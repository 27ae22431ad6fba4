//! A configuration and a state without serde's traits, in a plugin that does not depend on serde.

use replug_api::prelude::*;

#[derive(Default)]
struct Settings;

struct NoDefault;

struct Kept;

#[derive(replug_api::serde::Deserialize)]
#[serde(crate = "replug_api::serde")]
struct OnlyRead;

struct First;

impl Plugin for First {
    type Config = Settings;
    type State = Vec<Kept>;
    fn init(_: &Context, _: Settings) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

struct Second;

impl Plugin for Second {
    type Config = ();
    type State = OnlyRead;
    fn init(_: &Context, _: ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

struct Third;

impl Plugin for Third {
    type Config = NoDefault;
    type State = ();
    fn init(_: &Context, _: NoDefault) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

fn main() {}
