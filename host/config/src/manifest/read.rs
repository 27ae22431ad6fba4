//! Reads the text of the manifest in a folder, and the values from the text.

use super::{
    Defaults, Manifest, ManifestError, interpret,
    tree::{self, Node, Value},
};
use replug_model::id::PluginId;
use std::{fs, io, path::Path, sync::Arc};

/// The possible file names of a manifest.
pub const FILE_NAMES: [&str; 2] = ["plugin.toml", "plugin.json"];

/// The text of a manifest. Two texts always compare as equal, because manifests are compared by their values only.
#[derive(Clone, Debug, Default)]
pub struct Text(Arc<str>);

impl PartialEq for Text {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Manifest {
    /// The text of the manifest.
    pub fn text(&self) -> &str {
        &self.text.0
    }

    /// Whether the manifest has the text `other`.
    pub fn has_same_text(&self, other: &Text) -> bool {
        self.text.0 == other.0
    }
}

/// Whether `folder` directly contains a manifest, valid or not.
pub fn holds_manifest(folder: &Path) -> bool {
    FILE_NAMES.iter().any(|name| folder.join(name).symlink_metadata().is_ok())
}

/// Reads the manifest in `folder`, as a host without `[defaults]` does: see [`Defaults::read`].
///
/// # Errors
///
/// * [`ManifestError::Missing`], [`ManifestError::Both`]: the folder does not have exactly one manifest.
/// * [`ManifestError::Unreadable`], [`ManifestError::NotAText`], [`ManifestError::NotUtf8`], [`ManifestError::Empty`],
///   [`ManifestError::Syntax`]: the manifest is not a TOML or JSON text.
/// * The other variants: a key in the manifest is unknown or missing, or has an invalid value.
pub fn read(folder: &Path) -> Result<Manifest, ManifestError> {
    Defaults::default().read(folder)
}

pub(super) fn read_over(defaults: &Defaults, folder: &Path) -> Result<Manifest, ManifestError> {
    let root = fs::canonicalize(folder).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => ManifestError::NoFolder { path: folder.into() },
        _ => ManifestError::Unreadable { path: folder.into(), source },
    })?;
    let mut files = FILE_NAMES.iter().map(|name| root.join(name)).filter(|it| it.symlink_metadata().is_ok());
    let file = files.next().ok_or_else(|| ManifestError::Missing { path: root.clone() })?;
    if files.next().is_some() {
        return Err(ManifestError::Both { path: root });
    }
    let text = read_text(&file)?;
    if text.trim().is_empty() {
        return Err(ManifestError::Empty { path: file });
    }
    read_text_over(defaults, &file, &text)
}

/// Reads a manifest from `text`, which is the current or an earlier content of `file`.
pub(super) fn read_text_over(
    defaults: &Defaults,
    file: &Path,
    text: &str,
) -> Result<Manifest, ManifestError> {
    let tree = tree_of(file, text)?;
    let manifest = interpret(file, file.parent().unwrap_or(file), &defaults.under(tree))?;
    Ok(defaults.enforce(Manifest { text: Text(text.into()), ..manifest }))
}

/// The id in the manifest of a folder. The manifest may be otherwise invalid. `None` if the id cannot be read.
pub fn id_in(folder: &Path) -> Option<PluginId> {
    let mut files = FILE_NAMES.iter().map(|name| folder.join(name));
    files.find_map(|file| {
        let Value::Table(entries) = tree_of(&file, &read_text(&file).ok()?).ok()?.value else { return None };
        let entry = entries.into_iter().find(|entry| entry.key == "id")?;
        let Value::String(id) = entry.node.value else { return None };
        id.parse().ok()
    })
}

fn tree_of(file: &Path, text: &str) -> Result<Node, ManifestError> {
    match file.extension() {
        Some(extension) if extension == "json" => tree::from_json(file, text),
        _ => tree::from_toml(file, text),
    }
}

/// The line number of a key, such as `config.word`; the first line is 1. For a missing key, the line of the innermost
/// existing table that would contain the key. `None` if not even the outermost table exists, or if the manifest cannot
/// be parsed.
pub fn line_of(file: &Path, key: &str) -> Option<usize> {
    let tree = tree_of(file, &read_text(file).ok()?).ok()?;
    let (mut node, mut line) = (&tree, None);
    for part in key.split('.') {
        let Value::Table(entries) = &node.value else { break };
        let Some(entry) = entries.iter().find(|entry| entry.key == part) else { break };
        (node, line) = (&entry.node, Some(entry.line));
    }
    line
}

pub(crate) fn read_text(file: &Path) -> Result<String, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: file.into(), source };
    let metadata = fs::metadata(file).map_err(unreadable)?;
    // The type is checked first, because opening a pipe would wait for a writer.
    if !metadata.is_file() || metadata.len() > 1 << 20 {
        return Err(ManifestError::NotAText { path: file.into() });
    }
    String::from_utf8(fs::read(file).map_err(unreadable)?).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        ManifestError::NotUtf8 { path: file.into(), line }
    })
}
