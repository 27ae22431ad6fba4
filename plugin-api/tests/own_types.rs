//! Tests that valid types compile: a configuration and a state without a dependency on serde, and private types in public
//! ones. The programs in `ui` have the invalid counterparts, which must not compile.
#![deny(warnings)]

use replug_api::prelude::*;

/// A configuration that is also part of a signature.
#[replug_api::data]
#[derive(Default)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    limit: Limit,
}

/// A private type in a field of a public type.
#[replug_api::data]
#[derive(Default)]
struct Limit(u8);

/// A state with an attribute that `#[data]` rejects.
#[replug_api::state]
#[derive(Default)]
pub struct Kept {
    #[serde(flatten)]
    all: std::collections::BTreeMap<String, u8>,
}

mod inner {
    #[replug_api::data]
    pub(super) struct Narrow {
        pub(super) value: u8,
    }

    #[replug_api::interface]
    pub(super) trait Narrowed {
        fn narrow(&self, it: Narrow) -> Vec<Narrow>;
    }
}

#[replug_api::interface]
trait Marks {
    fn limit(&self, text: &str) -> Result<Settings, Limit>;
}

struct Author(Settings);

impl Plugin for Author {
    type Config = Settings;
    type State = Vec<Kept>;
    fn init(_: &Context, config: Settings) -> Result<Self, PluginError> {
        Ok(Self(config))
    }
}

impl Marks for Author {
    fn limit(&self, _: &str) -> Result<Settings, Limit> {
        Err(Limit(self.0.limit.0))
    }
}

impl inner::Narrowed for Author {
    fn narrow(&self, it: inner::Narrow) -> Vec<inner::Narrow> {
        vec![inner::Narrow { value: it.value }]
    }
}

replug_api::export!(Author: Marks, inner::Narrowed);

#[test]
fn types_without_a_dependency_on_serde_compile() {
    assert!(Kept::default().all.is_empty());
}
