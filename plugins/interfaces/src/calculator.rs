//! Arithmetic that remembers what it did.

use std::{collections::BTreeMap, fmt};

/// Arithmetic that remembers what it did.
///
/// `add`, `subtract` and `multiply` return an infinite number if the result is too large for an `f64`. JSON cannot
/// represent such a number, so a call by name gets an error. `divide`, `sqrt` and `power` return a [`CalcError`]
/// instead.
#[replug_api::interface]
pub trait Calculator {
    /// `a + b`
    fn add(&self, a: f64, b: f64) -> f64;

    /// `a - b`
    fn subtract(&self, a: f64, b: f64) -> f64;

    /// `a * b`
    fn multiply(&self, a: f64, b: f64) -> f64;

    /// `a / b`; an error if `b` is 0 or the result is not a finite number.
    fn divide(&self, a: f64, b: f64) -> Result<f64, CalcError>;

    /// The square root of `x`; an error if `x` is negative or the result is not a finite number.
    fn sqrt(&self, x: f64) -> Result<f64, CalcError>;

    /// `base` to the power of `exponent`; an error if the result is not a finite number.
    fn power(&self, base: f64, exponent: f64) -> Result<f64, CalcError>;

    /// `n!`; an error if the result does not fit into 64 bits.
    fn factorial(&self, n: u64) -> Result<u64, CalcError>;

    /// The history of calculations, the oldest first.
    fn history(&self) -> Vec<Entry>;

    /// The status of the calculator.
    fn status(&self) -> CalcStatus;
}

/// One calculation.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The method, such as `add`.
    pub operation: String,
    /// The arguments.
    pub operands: Vec<f64>,
    /// The result.
    pub result: f64,
}

/// The status of a calculator.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalcStatus {
    /// The generation of the plugin that answers.
    pub generation: u64,
    /// The number of calculations in the history.
    pub remembered: u64,
    /// The maximum number of calculations in the history.
    pub history_limit: u64,
}

/// Why a calculation has no result.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalcError {
    /// The code of the error, for programs: one of the constants of this type.
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// The operands by name. They are text, so that none of them loses precision.
    pub details: BTreeMap<String, String>,
}

impl CalcError {
    /// The code of a division by 0.
    pub const DIVIDE_BY_ZERO: &'static str = "divide_by_zero";
    /// The code of a square root of a negative number.
    pub const NEGATIVE_SQRT: &'static str = "negative_sqrt";
    /// The code of a factorial that needs more than 64 bits.
    pub const FACTORIAL_OVERFLOW: &'static str = "factorial_overflow";
    /// The code of a result that is infinite or not a number.
    pub const NOT_FINITE: &'static str = "not_finite";

    /// An error with its code and message, and without details.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: BTreeMap::new() }
    }

    /// The same error with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }
}

impl fmt::Display for CalcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CalcError {}
