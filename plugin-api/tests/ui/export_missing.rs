//! `export!` with a type or an interface that lacks an implementation.

use replug_api::prelude::*;

#[replug_api::interface]
trait Greeter {
    fn greet(&self, name: &str) -> String;
}

trait Unmarked {
    fn greet(&self) -> String;
}

struct NotAPlugin;

impl Greeter for NotAPlugin {
    fn greet(&self, name: &str) -> String {
        name.to_owned()
    }
}

struct WithoutInterface;

impl Plugin for WithoutInterface {
    type Config = ();
    type State = ();

    fn init(_: &Context, (): ()) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Unmarked for WithoutInterface {
    fn greet(&self) -> String {
        String::new()
    }
}

mod a {
    replug_api::export!(super::NotAPlugin: super::Greeter);
}
mod b {
    replug_api::export!(super::WithoutInterface: super::Greeter);
}
mod c {
    replug_api::export!(super::WithoutInterface: super::Unmarked);
}
mod d {
    replug_api::export!(super::WithoutInterface: super::Greeting);
}

fn main() {}
