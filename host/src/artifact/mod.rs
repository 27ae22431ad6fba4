//! Artifacts: built files, kept under the name of their content and looked into before anything of them runs.
//!
//! [`store`] keeps them, [`inspect`](mod@inspect) reads what a file says of itself. `libraries` finds what else belongs to
//! one, `relink` gives copies of that other names, and `lines` knows the
//! lines of the source. Nothing here opens a library.

mod allocator;
mod elf;
pub mod inspect;
mod libraries;
#[cfg(feature = "lines")]
mod lines;
mod relink;
pub mod store;

pub(crate) use allocator::Allocator;
pub use inspect::{Facts, InspectError, inspect};
pub(crate) use inspect::{is_cut_off, places_of_libraries};
#[cfg(feature = "lines")]
pub(crate) use lines::line;
#[cfg(all(test, feature = "lines"))]
pub(crate) use lines::tests::Sample;
pub use store::{Artifact, Store, StoreError};
pub(crate) use store::{Held, libraries_of_copy};
