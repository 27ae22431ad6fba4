//! Says hello.

/// Says hello.
#[replug_api::interface]
pub trait Greeter {
    /// Returns a greeting with `name`.
    fn greet(&self, name: &str) -> String;
}
