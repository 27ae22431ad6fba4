//! The words that the crates of a replug host share: plain data, and how it is read by people and by programs.
//!
//! Programs that embed a host use the crate `replug`, which hands on what they need of this one.
//!
//! What this crate promises:
//!
//! * It does nothing by itself: it reads no file, starts no process and no thread.
//! * An event is written without waiting for anyone, and counted before anyone reads it.
//! * What is timed and counted is read without making a caller wait.
//!
//! It imports no other crate of the host. So what stands here is what at least two of them have to agree on.
//!
//! | module | what is in it |
//! |---|---|
//! | [`id`] | the names of plugins, generations and artifacts |
//! | [`event`] | what happens in a host, how it gets to those who listen, and what it adds up to |
//! | [`metrics`] | what is timed and counted of calls |
//! | [`limits`] | where a plugin runs, and what its process may use |
//! | [`step`] | the steps of a plugin's life |
//! | [`copy`] | where the private copy of an artifact has what comes with it |
//! | [`suggest`] | the nearest known name to a wrong one |
//! | [`readable`] | errors as people read them |

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
