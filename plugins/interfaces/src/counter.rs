//! A number that only goes up.

/// A number that only goes up.
#[replug_api::interface]
pub trait Counter {
    /// Adds `by` and gives the new value, which stays at the largest that 64 bits hold once it is there.
    fn increment(&self, by: u64) -> u64;

    /// The present value.
    fn value(&self) -> u64;
}
