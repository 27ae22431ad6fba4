//! The interface of plugins from the template.

/// What plugins from the template do.
#[replug_api::interface]
pub trait Tally {
    /// The version that the source says.
    fn version(&self) -> u64;

    /// `a + b`
    fn add(&self, a: u64, b: u64) -> u64;
}
