//! A number that only goes up.

/// A number that only goes up.
#[replug_api::interface]
pub trait Counter {
    /// Adds `by` and returns the new value, which saturates at the largest 64-bit number.
    fn increment(&self, by: u64) -> u64;

    /// The current value.
    fn value(&self) -> u64;
}
