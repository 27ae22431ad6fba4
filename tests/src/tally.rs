//! The interface of plugins from the template.

/// The methods of plugins from the template.
#[replug_api::interface]
pub trait Tally {
    /// The version in the source.
    fn version(&self) -> u64;

    /// `a + b`
    fn add(&self, a: u64, b: u64) -> u64;
}
