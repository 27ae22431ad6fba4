//! The files beside the private copy of an artifact, which a process opens.

use std::path::{Path, PathBuf};

/// The folder beside a private copy with copies of the libraries that belong to it, if there are any.
pub fn libraries_of_copy(copy: &Path) -> PathBuf {
    copy.with_extension("libs")
}
