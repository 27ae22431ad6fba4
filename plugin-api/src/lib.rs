//! What a replug plugin is written against.

pub mod abi;
pub mod call;
pub mod describe;
