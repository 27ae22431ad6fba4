//! Finds the plugins in the subfolders of a folder.

use super::{Defaults, Manifest, ManifestError, holds_manifest};
use replug_model::id::PluginId;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The contents of a plugins folder.
#[derive(Debug, Default)]
pub struct Discovery {
    /// The valid manifests, sorted by id; ids are unique.
    pub manifests: Vec<Manifest>,
    /// The errors in the other manifests.
    pub problems: Vec<ManifestError>,
}

/// Finds the plugins in the direct subfolders of `plugins_dir`, as a host without `[defaults]` does: see
/// [`Defaults::discover`].
///
/// A subfolder without a manifest is not a plugin. Hidden subfolders and `target` are skipped. If `plugins_dir` itself
/// has a manifest, it is the only plugin. Of several plugins with the same id, the result contains the one whose path
/// sorts first. The others are listed in [`Discovery::problems`].
///
/// # Errors
///
/// * [`ManifestError::NoFolder`], [`ManifestError::NotAFolder`] or [`ManifestError::Unreadable`] if `plugins_dir`
///   cannot be searched
///
/// An invalid manifest is not an error of this function. The error in the manifest is listed in
/// [`Discovery::problems`].
pub fn discover(plugins_dir: &Path) -> Result<Discovery, ManifestError> {
    Defaults::default().discover(plugins_dir)
}

/// The folders of the plugins that the host serves.
pub(crate) type Served = BTreeMap<PluginId, PathBuf>;

pub(super) fn discover_over(
    defaults: &Defaults,
    plugins_dir: &Path,
    served: &Served,
) -> Result<Discovery, ManifestError> {
    let unreadable = |source| ManifestError::Unreadable { path: plugins_dir.into(), source };
    match fs::metadata(plugins_dir) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(ManifestError::NotAFolder { path: plugins_dir.into() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ManifestError::NoFolder { path: plugins_dir.into() });
        }
        Err(error) => return Err(unreadable(error)),
    }
    let entries = fs::read_dir(plugins_dir).map_err(unreadable)?;
    if holds_manifest(plugins_dir) {
        let mut found = Discovery::default();
        found.add(defaults, plugins_dir);
        return Ok(found);
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let ignored = name == "target" || name.as_encoded_bytes().starts_with(b".");
        if !ignored && entry.path().is_dir() {
            folders.push(entry.path());
        }
    }
    folders.sort();
    let mut found = Discovery::default();
    for folder in &folders {
        // An unreadable folder is reported, because it may contain a plugin.
        match fs::read_dir(folder) {
            Ok(_) if !holds_manifest(folder) => {}
            Ok(_) => found.add(defaults, folder),
            Err(source) => {
                found.problems.push(ManifestError::Unreadable { path: folder.clone(), source });
            }
        }
    }
    found.reject_duplicate_ids(served);
    Ok(found)
}

impl Discovery {
    fn add(&mut self, defaults: &Defaults, folder: &Path) {
        match defaults.read(folder) {
            Ok(manifest) => self.manifests.push(manifest),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Sorts the manifests by id. Of several manifests with the same id, keeps the manifest that the host serves. If
    /// the host serves none of them, keeps the manifest whose path sorts first. The others become problems.
    fn reject_duplicate_ids(&mut self, served: &Served) {
        let is_served = |manifest: &Manifest| served.get(&manifest.id) == Some(&manifest.root);
        // The sort is stable, so manifests with the same id stay in the order of their paths.
        self.manifests.sort_by(|a, b| a.id.cmp(&b.id).then(is_served(b).cmp(&is_served(a))));
        let mut staying: Vec<Manifest> = Vec::new();
        for manifest in self.manifests.drain(..) {
            match staying.last().filter(|one| one.id == manifest.id) {
                None => staying.push(manifest),
                Some(one) => self.problems.push(ManifestError::DuplicateId {
                    id: manifest.id,
                    path: manifest.file,
                    first: one.file.clone(),
                }),
            }
        }
        self.manifests = staying;
    }
}
