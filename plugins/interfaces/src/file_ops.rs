//! Text files in the folders that a plugin's configuration allows.

use std::{collections::BTreeMap, fmt};

/// Text files in the folders that the plugin's configuration allows.
///
/// A path is relative to the first of these folders, or absolute and inside one of them. A path is rejected if it
/// contains `..`, or if a symlink in the path leads out of the allowed folder.
#[replug_api::interface]
pub trait FileOps {
    /// Returns the text of a file.
    fn read(&self, path: &str) -> Result<String, FileError>;

    /// Creates a file or replaces its content, and returns its size in bytes. The folder of the file must exist.
    fn write(&self, path: &str, contents: &str) -> Result<u64, FileError>;

    /// The entries of a folder, sorted by name. `.` is the first allowed folder itself.
    fn list(&self, path: &str) -> Result<Vec<FileEntry>, FileError>;

    /// Deletes a file. If the path is a symlink to a file, deletes the symlink. Does not delete folders.
    fn delete(&self, path: &str) -> Result<(), FileError>;
}

/// One entry of a folder.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// The name of the entry, without the folder.
    pub name: String,
    /// The kind of the entry.
    pub kind: FileKind,
    /// The size of a file in bytes; 0 for any other kind.
    pub size_bytes: u64,
}

/// The kind of an entry of a folder.
#[replug_api::data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A file.
    #[serde(rename = "file")]
    File,
    /// A folder.
    #[serde(rename = "folder")]
    Folder,
    /// A symlink, whatever its target.
    #[serde(rename = "symlink")]
    Symlink,
    /// A socket, a device or the like, which can only be listed.
    #[serde(rename = "other")]
    Other,
}

/// Why an operation on a file failed.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The code of the error, for programs: one of the constants of this type.
    pub code: String,
    /// The message, for people.
    pub message: String,
    /// The `path` that the caller passed. With [`FileError::TOO_LARGE`], also the `max_file_size` in bytes.
    pub details: BTreeMap<String, String>,
}

impl FileError {
    /// The code of a path that contains `..` or leads out of the allowed folders.
    pub const NOT_ALLOWED: &'static str = "not_allowed";
    /// The code of a path that does not exist.
    pub const NOT_FOUND: &'static str = "not_found";
    /// The code of a path that is not a file, where a file is needed.
    pub const NOT_A_FILE: &'static str = "not_a_file";
    /// The code of a path that is not a folder, where a folder is needed.
    pub const NOT_A_FOLDER: &'static str = "not_a_folder";
    /// The code of a file with more bytes than the configuration allows.
    pub const TOO_LARGE: &'static str = "too_large";
    /// The code of a file that is not UTF-8.
    pub const NOT_TEXT: &'static str = "not_text";
    /// The code of any other error of the operating system.
    pub const IO: &'static str = "io";

    /// An error with its code and message, and without details.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), details: BTreeMap::new() }
    }

    /// The same error with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FileError {}
