//! Plain data that the crates of a replug host share.
//!
//! Programs that embed a host use the crate `replug`, which re-exports the items of this crate that they need.
//!
//! Guarantees of this crate:
//!
//! * It has no side effects: it reads no file, starts no process and no thread.
//! * Emitting an event never blocks, and an event is counted before any reader gets it.
//! * Reading durations and counters never blocks a caller.
//!
//! This crate imports no other crate of the host. It contains only data that at least two of the other crates share.
//!
//! | module | content |
//! |---|---|
//! | [`id`] | the names of plugins, generations and artifacts |
//! | [`event`] | the events of a host, how they reach their readers, and their totals |
//! | [`metrics`] | durations and counters of calls |
//! | [`limits`] | where a plugin runs, and the resource limits of its process |
//! | [`step`] | the steps of a plugin's lifecycle |
//! | [`copy`] | the names of the files beside the copy of an artifact that a process opens |
//! | [`suggest`] | suggestions for unknown names, for error messages |
//! | [`readable`] | a readable `Debug` form for errors |
//! | [`text`] | shortens texts to a maximum length |

#![forbid(unsafe_code)]

pub mod copy;
pub mod event;
pub mod id;
pub mod limits;
pub mod metrics;
#[cfg(feature = "openapi")]
mod openapi;
pub mod readable;
pub mod step;
pub mod suggest;
pub mod text;
