//! Says hello.

/// Says hello.
#[replug_api::interface]
pub trait Greeter {
    /// A greeting for the guest of that `name`.
    fn greet(&self, name: &str) -> String;
}
