//! The private copies of artifacts that processes open: what lies beside one.

use std::path::{Path, PathBuf};

/// The folder beside a private copy that holds those of the libraries which it brings along, if there are any.
pub fn libraries_of_copy(copy: &Path) -> PathBuf {
    copy.with_extension("libs")
}
