//! The interface of the plugin `signatures`. The plugin and the benchmark both compile this file.

/// Methods with different signatures.
#[replug_api::interface]
pub trait Signatures {
    /// `a + b`
    fn add(&self, a: f64, b: f64) -> f64;
    /// A greeting that contains `name`.
    fn greet(&self, name: &str) -> String;
    /// The number of bytes.
    fn length(&self, bytes: &[u8]) -> usize;
    /// The same list.
    fn numbers(&self, list: Vec<Quantity>) -> Vec<Quantity>;
    /// The same list.
    fn texts(&self, list: Vec<Named>) -> Vec<Named>;
    /// Always fails.
    fn refuse(&self, code: u32) -> Result<u64, Refused>;
}

/// A struct of numbers.
#[replug_api::data]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantity {
    /// A number.
    pub item: u64,
    /// A number.
    pub price: f64,
    /// A number.
    pub count: u32,
}

/// A struct with a text.
#[replug_api::data]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Named {
    /// A number.
    pub item: u64,
    /// A text.
    pub name: String,
}

/// An error.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The argument.
    pub code: u32,
}

/// The methods as Rust functions without an object.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Functions {
    /// `add`
    pub add: fn(f64, f64) -> f64,
    /// `greet`
    pub greet: fn(&str) -> String,
    /// `length`
    pub length: fn(&[u8]) -> usize,
    /// `numbers`
    pub numbers: fn(Vec<Quantity>) -> Vec<Quantity>,
    /// `texts`
    pub texts: fn(Vec<Named>) -> Vec<Named>,
    /// `refuse`
    pub refuse: fn(u32) -> Result<u64, Refused>,
}
