//! Artifacts: built files, kept under the name of their content and looked into before anything of them runs.
//!
//! [`store`] keeps them, [`inspect`](mod@inspect) reads what a file says of itself. `libraries` finds what else belongs to
//! one, and `relink` gives copies of that other names. Nothing here opens a library.

mod allocator;
mod elf;
pub mod inspect;
mod libraries;
mod relink;
pub mod store;

pub(crate) use allocator::Allocator;
pub(crate) use inspect::places_of_libraries;
pub use inspect::{Facts, InspectError, inspect, is_cut_off};
pub use store::{Artifact, Held, Store, StoreError};
