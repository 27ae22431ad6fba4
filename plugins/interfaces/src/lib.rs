//! The interfaces that the example plugins implement and hosts call: one file for each, with its data types.
//!
//! Interfaces have a crate of their own, so that hosts and plugins depend on it and not on each other. The edges are
//! compiled once, in this crate, and not at every edit of a plugin.

mod calculator;
mod counter;
mod file_ops;
mod greeter;

pub use calculator::{CalcError, CalcStatus, Calculator, CalculatorClient, Entry};
pub use counter::{Counter, CounterClient};
pub use file_ops::{FileEntry, FileError, FileKind, FileOps, FileOpsClient};
pub use greeter::{Greeter, GreeterClient};
