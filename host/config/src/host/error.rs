//! What can be wrong with a host's configuration, and what to do about it.

use crate::manifest::ManifestError;
use std::path::PathBuf;

/// Why a configuration cannot be used. None of it is: it is taken as a whole or refused as a whole.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the place and the reason that the message names")]
pub enum ConfigError {
    /// The file that was named is not there.
    #[error("{}: there is no such configuration file; create it, or leave out `--config`", path.display())]
    NoFile { path: PathBuf },
    /// The file cannot be read, is no TOML, or says what cannot be; the message names file, line and key.
    #[error(transparent)]
    InFile(#[from] ManifestError),
    /// An environment variable or a flag says what cannot be.
    #[error("{by}: {reason}")]
    Elsewhere { by: String, reason: String },
}

replug_model::readable::readable!(ConfigError);
