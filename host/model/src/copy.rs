//! The files beside a private copy of an artifact. A process opens such a copy instead of the artifact.

use std::path::{Path, PathBuf};

/// The path of the folder beside a private copy that contains copies of the artifact's own libraries. The folder does
/// not exist if the artifact has no such libraries.
pub fn libraries_of_copy(copy: &Path) -> PathBuf {
    copy.with_extension("libs")
}
