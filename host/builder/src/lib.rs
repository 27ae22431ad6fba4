//! From a plugin's source to an artifact in the store: what changed, what cargo makes of it, and what the file says.
//!
//! What this crate promises:
//!
//! * It runs what builds a plugin, and nothing of the plugin itself: it opens no library.
//! * What is built is known by its content. An artifact in the store never changes, and what is read of it was verified.
//! * A build can be cut short at any moment, and outlives the program that waits for it by no more than that takes.
//! * A build of what has not changed does not ask cargo.
//!
//! It imports `replug-config`, for the manifests that say how a plugin is built, and `replug-model`: it knows neither the
//! protocol nor how a plugin is loaded and run. The crate `replug` hands on what embedding programs need.
//!
//! | module | what is in it |
//! |---|---|
//! | [`watch`] | what changed: tells of a save at its first sign |
//! | [`build`](mod@build) | runs cargo or a script, or repeats what they did last, and can be cut short |
//! | [`artifact`] | keeps what was built, by its digest, and reads it before anything runs |
//! | [`guard`] | the process that ends builds whose program has ended |
//! | [`mount`] | what the file system of a folder allows |

#![forbid(unsafe_code)]

pub mod artifact;
pub mod build;
pub mod guard;
pub mod mount;
pub mod watch;
