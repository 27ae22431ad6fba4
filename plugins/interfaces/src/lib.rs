//! The interfaces that the example plugins implement and hosts call: one file for each, with its data types.
//!
//! A contract is a crate of its own, so that both sides depend on it and not on each other, and so that
//! its edges are compiled here once and not at every edit of a plugin.

mod calculator;
mod counter;
mod file_ops;
mod greeter;

pub use calculator::{CalcError, CalcStatus, Calculator, CalculatorClient, Entry};
pub use counter::{Counter, CounterClient};
pub use file_ops::{FileEntry, FileError, FileKind, FileOps, FileOpsClient};
pub use greeter::{Greeter, GreeterClient};
