//! Text files in the folders that `[config]` allows, and nowhere else.
//!
//! This example shows a configuration that is checked and applied while the plugin runs: an invalid configuration is
//! rejected, and the previous one stays in force. It also shows how to confine callers to allowed folders. This file
//! decides to which folder a path belongs; `folder` enforces that the path stays inside.

mod folder;

use folder::Folder;
use replug_api::prelude::*;
use replug_interfaces::{FileEntry, FileError, FileOps};
use std::{
    fs,
    path::{Component, Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

/// `[config]` of the plugin.
#[replug_api::config]
#[derive(Clone, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct FileOpsConfig {
    /// The paths of the folders that may be used, without `..`. A relative path starts at the plugin's data folder; a
    /// folder at such a path is created if it does not exist. An absolute path must name an existing folder.
    pub allowed_paths: Vec<PathBuf>,
    /// The largest file that is read or written, in bytes.
    pub max_file_size: u64,
}

impl Default for FileOpsConfig {
    fn default() -> Self {
        Self { allowed_paths: vec!["files".into()], max_file_size: 1 << 20 }
    }
}

/// Files in the allowed folders.
pub struct Files {
    data_dir: PathBuf,
    policy: RwLock<Arc<Policy>>,
}

/// The checked form of a configuration. A call uses the policy that was in force when the call began.
struct Policy {
    folders: Vec<Folder>,
    max_file_size: u64,
}

impl Plugin for Files {
    type Config = FileOpsConfig;
    type State = ();

    fn init(context: &Context, config: FileOpsConfig) -> Result<Self, PluginError> {
        let policy = Policy::new(context.data_dir(), config)?;
        Ok(Self { data_dir: context.data_dir().to_owned(), policy: RwLock::new(Arc::new(policy)) })
    }

    fn on_config(&self, config: FileOpsConfig) -> Result<(), PluginError> {
        let policy = Policy::new(&self.data_dir, config)?;
        info!(
            folders = policy.folders.len(),
            max_file_size = policy.max_file_size,
            "the configuration has changed"
        );
        *self.policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        Ok(())
    }

    fn health(&self) -> Health {
        let policy = self.policy();
        let folders: Vec<String> =
            policy.folders.iter().map(|folder| folder.path().display().to_string()).collect();
        Health::ok().with_message(format!(
            "files of up to {} bytes in {}",
            policy.max_file_size,
            folders.join(", ")
        ))
    }
}

impl FileOps for Files {
    fn read(&self, path: &str) -> Result<String, FileError> {
        let policy = self.policy();
        let (folder, inside) = policy.place(path)?;
        let bytes = folder.read(&inside, policy.max_file_size).map_err(|problem| problem.at(path))?;
        String::from_utf8(bytes).map_err(|_| {
            FileError::new(FileError::NOT_TEXT, format!("`{path}` is not UTF-8 text")).with("path", path)
        })
    }

    fn write(&self, path: &str, contents: &str) -> Result<u64, FileError> {
        let policy = self.policy();
        let (folder, inside) = policy.place(path)?;
        folder.write(&inside, contents.as_bytes(), policy.max_file_size).map_err(|problem| problem.at(path))
    }

    fn list(&self, path: &str) -> Result<Vec<FileEntry>, FileError> {
        let policy = self.policy();
        let (folder, inside) = policy.place(path)?;
        folder.list(&inside).map_err(|problem| problem.at(path))
    }

    fn delete(&self, path: &str) -> Result<(), FileError> {
        let policy = self.policy();
        let (folder, inside) = policy.place(path)?;
        folder.delete(&inside).map_err(|problem| problem.at(path))
    }
}

impl Files {
    fn policy(&self) -> Arc<Policy> {
        // A policy is replaced completely or not at all, so it is valid even after a panic on another thread.
        self.policy.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Policy {
    fn new(data_dir: &Path, config: FileOpsConfig) -> Result<Self, PluginError> {
        let folders = config.allowed_paths.iter().map(|allowed| allow(data_dir, allowed));
        Ok(Self { folders: folders.collect::<Result<_, _>>()?, max_file_size: config.max_file_size })
    }

    /// The folder that contains a caller's path, and the path relative to it.
    fn place(&self, path: &str) -> Result<(&Folder, PathBuf), FileError> {
        let refused = |why: &str| {
            FileError::new(FileError::NOT_ALLOWED, format!("`{path}` is not allowed: {why}"))
                .with("path", path)
        };
        let asked = Path::new(path);
        if has_dot_dot(asked) {
            return Err(refused("a path may not contain `..`"));
        }
        let inside = |folder| Some((folder, asked.strip_prefix(Folder::path(folder)).ok()?.to_owned()));
        if asked.is_absolute() {
            let outside = "it is in none of the folders that `allowed_paths` lists";
            return self.folders.iter().find_map(inside).ok_or_else(|| refused(outside));
        }
        let first = self.folders.first().ok_or_else(|| refused("`allowed_paths` is empty"))?;
        Ok((first, asked.to_owned()))
    }
}

fn allow(data_dir: &Path, allowed: &Path) -> Result<Folder, PluginError> {
    let refused = |why: String| {
        let message = format!("[config] allowed_paths: `{}` {why}", allowed.display());
        PluginError::new("bad_config", message).with("key", "allowed_paths")
    };
    if has_dot_dot(allowed) {
        return Err(refused("contains `..`: write the target as an absolute path".to_owned()));
    }
    let path = data_dir.join(allowed);
    if allowed.is_relative() {
        fs::create_dir_all(&path).map_err(|error| refused(format!("cannot be created: {error}")))?;
    }
    Folder::open(path).map_err(|error| refused(format!("cannot be used: {error}")))
}

fn has_dot_dot(path: &Path) -> bool {
    path.components().any(|component| component == Component::ParentDir)
}

replug_api::export!(Files: FileOps);

#[cfg(test)]
mod tests;
