//! The program that a host starts again as its child processes.

use std::path::{Path, PathBuf};

/// The program that the host runs as a shim, and as its other child processes.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// A program that calls `replug::shim::run_if_asked` first in its `main`.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// The program of this process, even if its file has been replaced since.
    pub fn own() -> Self {
        Self("/proc/self/exe".into())
    }

    /// The path of the program's file.
    pub fn path(&self) -> &Path {
        &self.0
    }
}
