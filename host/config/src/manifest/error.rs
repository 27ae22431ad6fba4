//! Errors in a manifest or in the plugins folder. Each message includes what to do.

use replug_model::id::{IllegalId, PluginId};
use std::{
    io,
    path::{Path, PathBuf},
};

/// Why a manifest cannot be used, or a plugins folder cannot be searched.
///
/// Lines and columns count from 1.
#[derive(thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the file, the line and the key that the message names")]
pub enum ManifestError {
    /// The plugins folder does not exist.
    #[error("{}: no such folder; create it, or pass the folder that holds your plugins", path.display())]
    NoFolder { path: PathBuf },
    /// A path that should be a folder is a file or a device.
    #[error("{}: not a folder; pass the folder that holds your plugins", path.display())]
    NotAFolder { path: PathBuf },
    /// A file or folder cannot be read.
    #[error("{}: cannot be read: {source}; give this user access to it, or pass another folder", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    /// The folder has no manifest.
    #[error("{}: no plugin.toml here; create one with at least `id = \"dev.example.name\"`", path.display())]
    Missing { path: PathBuf },
    /// The folder has both kinds of manifest.
    #[error("{}: both a plugin.toml and a plugin.json exist; delete one of them", path.display())]
    Both { path: PathBuf },
    /// The manifest is not a regular file, or is larger than 1 MiB.
    #[error("{}: not a regular text file of at most 1 MiB", path.display())]
    NotAText { path: PathBuf },
    /// The manifest is not UTF-8.
    #[error("{}:{line}: not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 { path: PathBuf, line: usize },
    /// The manifest is empty.
    #[error("{}: the manifest is empty; it needs at least `id = \"dev.example.name\"`", path.display())]
    Empty { path: PathBuf },
    /// The manifest is not TOML or not JSON.
    #[error("{}:{line}:{column}: not valid {format}: {reason}", path.display())]
    Syntax { path: PathBuf, line: usize, column: usize, format: &'static str, reason: String },
    /// An unknown key.
    #[error("{}:{line}: unknown key `{key}`; {hint}", path.display())]
    UnknownKey { path: PathBuf, line: usize, key: String, hint: String },
    /// A duplicate key.
    #[error("{}:{line}: duplicate key `{key}`; delete one", path.display())]
    TwiceTheKey { path: PathBuf, line: usize, key: String },
    /// A value of the wrong type.
    #[error("{}:{line}: `{key}` is {found}, but must be {expected}", path.display())]
    WrongType { path: PathBuf, line: usize, key: String, expected: &'static str, found: &'static str },
    /// A required key is missing.
    #[error("{}: `{key}` is missing; add {example}", path.display())]
    MissingKey { path: PathBuf, key: &'static str, example: &'static str },
    /// The id is invalid.
    #[error("{}:{line}: {source}", path.display())]
    IllegalId { path: PathBuf, line: usize, source: IllegalId },
    /// A value of the right type that the key does not accept.
    #[error("{}:{line}: `{key}`: {reason}", path.display())]
    IllegalValue { path: PathBuf, line: usize, key: String, reason: String },
    /// The plugins in two folders have the same id.
    #[error("{}: duplicate id `{id}`, already used by {}; this plugin is ignored until one of the two has a different id", path.display(), first.display())]
    DuplicateId { id: PluginId, path: PathBuf, first: PathBuf },
}

replug_model::readable::readable!(ManifestError);

impl ManifestError {
    /// The key in the error, such as `reload.drain_timeout`. `None` if the error concerns no key.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::UnknownKey { key, .. }
            | Self::TwiceTheKey { key, .. }
            | Self::WrongType { key, .. }
            | Self::IllegalValue { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The same error for a value inside the table `table`, whose name is prepended to the key.
    pub(crate) fn within(mut self, table: &str) -> Self {
        if let Self::UnknownKey { key, .. }
        | Self::TwiceTheKey { key, .. }
        | Self::WrongType { key, .. }
        | Self::IllegalValue { key, .. } = &mut self
        {
            *key = if key.is_empty() { table.to_owned() } else { format!("{table}.{key}") };
        }
        self
    }

    /// The file or folder that has the error.
    pub fn path(&self) -> &Path {
        match self {
            Self::NoFolder { path }
            | Self::NotAFolder { path }
            | Self::Unreadable { path, .. }
            | Self::Missing { path }
            | Self::Both { path }
            | Self::NotAText { path }
            | Self::NotUtf8 { path, .. }
            | Self::Empty { path }
            | Self::Syntax { path, .. }
            | Self::UnknownKey { path, .. }
            | Self::TwiceTheKey { path, .. }
            | Self::WrongType { path, .. }
            | Self::MissingKey { path, .. }
            | Self::IllegalId { path, .. }
            | Self::IllegalValue { path, .. }
            | Self::DuplicateId { path, .. } => path,
        }
    }
}
