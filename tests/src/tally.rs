//! The interface of the plugins that tests make from the template of [`Source`](crate::Source).

/// The methods of such a plugin.
#[replug_api::interface]
pub trait Tally {
    /// The version in the source.
    fn version(&self) -> u64;

    /// `a + b`
    fn add(&self, a: u64, b: u64) -> u64;
}
