//! Text files in the folders that a plugin's configuration allows.

use std::{collections::BTreeMap, fmt};

/// Text files in the folders that the plugin's configuration allows.
///
/// A path is relative to the first of these folders, or absolute and inside one of them. A path with `..` is
/// refused, and so is one that a symlink leads out of its folder.
#[replug_api::interface]
pub trait FileOps {
    /// The text in a file.
    fn read(&self, path: &str) -> Result<String, FileError>;

    /// Creates a file, or replaces its content; returns its size in bytes. Its folder must exist.
    fn write(&self, path: &str, contents: &str) -> Result<u64, FileError>;

    /// The entries of a folder, sorted by name. `.` is the first allowed folder itself.
    fn list(&self, path: &str) -> Result<Vec<FileEntry>, FileError>;

    /// Deletes a file, but no folder. Of a symlink to a file it deletes the link.
    fn delete(&self, path: &str) -> Result<(), FileError>;
}

/// One entry of a folder.
#[replug_api::data]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name, without the folder.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes; 0 for anything but a file.
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
    /// A symlink, wherever it leads.
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
    /// For programs: one of the constants of this type.
    pub code: String,
    /// For people.
    pub message: String,
    /// The `path` as it was asked for; with [`FileError::TOO_LARGE`] also the `max_file_size` in bytes.
    pub details: BTreeMap<String, String>,
}

impl FileError {
    /// The code of a path that leads out of the allowed folders.
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
