//! Artifacts: built files, stored by the digest of their content and inspected before any of their code runs.
//!
//! [`store`] keeps artifacts, and [`inspect`](mod@inspect) reads their properties. `libraries` finds the libraries that
//! belong to an artifact, and `relink` renames copies of these libraries. Nothing here opens a library.

mod allocator;
mod elf;
pub mod inspect;
mod libraries;
mod relink;
pub mod store;

pub(crate) use allocator::{Allocator, comment};
pub(crate) use inspect::places_of_libraries;
pub use inspect::{Facts, InspectError, inspect, is_cut_off};
pub use store::{Artifact, Held, Store, StoreError};
