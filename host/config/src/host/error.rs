//! Errors in a host's configuration. Each message includes what to do.

use crate::manifest::ManifestError;
use std::path::PathBuf;

/// Why a configuration cannot be used. A configuration is accepted or rejected as a whole.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the place and the reason that the message names")]
pub enum ConfigError {
    /// The file that `--config` or [`Layers::file`](super::Layers::file) names does not exist.
    #[error("{}: no such configuration file; create it, or omit `--config`", path.display())]
    NoFile { path: PathBuf },
    /// The file cannot be read, is not TOML, or has an invalid value. The message names file, line and key.
    #[error(transparent)]
    InFile(#[from] ManifestError),
    /// An environment variable or a flag has an invalid value. `by` is its name.
    #[error("{by}: {reason}")]
    Elsewhere { by: String, reason: String },
}

replug_model::readable::readable!(ConfigError);
