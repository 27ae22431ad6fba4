//! From a plugin's source to an artifact in the store: watching, building, storing and inspecting.
//!
//! Guarantees:
//!
//! * The crate runs the tools and scripts that build a plugin, but never the built plugin: it opens no library.
//! * Built files are identified by their content. An artifact in the store never changes, and every copy of it is
//!   verified.
//! * A build can be cancelled at any moment. If the program that waits for a build exits, the build is killed.
//! * A build without cargo gives the artifact that cargo would have built from the same files.
//!
//! This crate imports `replug-config`, for the manifests that configure builds, and `replug-model`. It does not depend
//! on the wire protocol or on the loading of plugins. The crate `replug` re-exports the API of this crate for embedding
//! programs.
//!
//! | module | content |
//! |---|---|
//! | [`watch`] | reports a changed file as soon as an event shows the change |
//! | [`build`](mod@build) | runs cargo or a script, or repeats cargo's `rustc` call for the plugin's crate; can be cancelled |
//! | [`artifact`] | stores built files by their digest, and inspects them before any code runs |
//! | [`guard`] | the process that kills the running builds when the program exits |
//! | [`mount`] | mount options of a folder's file system |

#![forbid(unsafe_code)]

pub mod artifact;
pub mod build;
pub mod guard;
mod lock_file;
pub mod mount;
pub mod watch;
