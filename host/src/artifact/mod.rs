//! Artifacts: built files, kept under the name of their content and looked into before anything of them runs.
//!
//! [`store`] keeps them, [`inspect`](mod@inspect) reads what a file says of itself. Nothing here opens a library.

pub mod inspect;
mod libraries;
pub mod store;

pub use inspect::{Facts, InspectError, inspect};
pub use store::{Artifact, Store, StoreError};
