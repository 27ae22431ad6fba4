//! The smallest plugin: one method, no configuration, no state.

use replug_api::prelude::*;
use replug_interfaces::Greeter;

/// Greets whoever asks.
pub struct HelloWorld;

impl Plugin for HelloWorld {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Greeter for HelloWorld {
    fn greet(&self, name: &str) -> String {
        format!("Hello, {name}!")
    }
}

replug_api::export!(HelloWorld: Greeter);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_contains_the_name() {
        assert_eq!(HelloWorld.greet("World"), "Hello, World!");
    }
}
