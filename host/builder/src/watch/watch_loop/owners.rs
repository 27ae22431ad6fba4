//! The inputs of all plugins, and an index from paths to the plugins that they belong to. With the index, the time to
//! find the plugins of a changed file does not depend on the number of all plugins.

use crate::watch::{Inputs, content::is_ignored_below};
use replug_model::id::PluginId;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::{Path, PathBuf},
};

#[derive(Default)]
pub(super) struct Owners {
    inputs: BTreeMap<PluginId, Inputs>,
    by_file: PathIndex,
    by_dir: PathIndex,
}

#[derive(Default)]
struct PathIndex(HashMap<PathBuf, BTreeSet<PluginId>>);

impl PathIndex {
    fn add(&mut self, plugin: &PluginId, paths: &BTreeSet<PathBuf>) {
        for path in paths {
            self.0.entry(path.clone()).or_default().insert(plugin.clone());
        }
    }

    fn remove(&mut self, plugin: &PluginId, paths: &BTreeSet<PathBuf>) {
        for path in paths {
            if let Some(plugins) = self.0.get_mut(path) {
                plugins.remove(plugin);
                if plugins.is_empty() {
                    self.0.remove(path);
                }
            }
        }
    }
}

impl Owners {
    /// Sets the inputs of a plugin. Returns whether the plugin had different files or folders before.
    pub(super) fn set(&mut self, plugin: &PluginId, inputs: Inputs) -> bool {
        let paths = |inputs: &Inputs| (inputs.files.clone(), inputs.dirs.clone(), inputs.except.clone());
        let new = paths(&inputs);
        let had_others = self.remove(plugin).is_some_and(|old| paths(&old) != new);
        self.by_file.add(plugin, &inputs.files);
        self.by_dir.add(plugin, &inputs.dirs);
        self.inputs.insert(plugin.clone(), inputs);
        had_others
    }

    pub(super) fn remove(&mut self, plugin: &PluginId) -> Option<Inputs> {
        let inputs = self.inputs.remove(plugin)?;
        self.by_file.remove(plugin, &inputs.files);
        self.by_dir.remove(plugin, &inputs.dirs);
        Some(inputs)
    }

    pub(super) fn inputs_of(&self, plugin: &PluginId) -> Option<&Inputs> {
        self.inputs.get(plugin)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PluginId, &Inputs)> {
        self.inputs.iter()
    }

    /// The plugins of which the file is an input.
    pub(super) fn of(&self, path: &Path) -> BTreeSet<PluginId> {
        let mut owners = self.by_file.0.get(path).cloned().unwrap_or_default();
        for dir in path.ancestors().skip(1) {
            let Some(plugins) = self.by_dir.0.get(dir).filter(|_| !is_ignored_below(dir, path)) else {
                continue;
            };
            let counts = |plugin: &&PluginId| {
                self.inputs[*plugin].except.iter().all(|excepted| !path.starts_with(excepted))
            };
            owners.extend(plugins.iter().filter(counts).cloned());
        }
        owners
    }

    /// Whether a plugin lists the path among its files.
    pub(super) fn has_file(&self, path: &Path) -> bool {
        self.by_file.0.contains_key(path)
    }

    /// Whether the folder, or a folder above it, is among the folders of a plugin.
    pub(super) fn has_dir_above(&self, dir: &Path) -> bool {
        dir.ancestors().any(|above| self.by_dir.0.contains_key(above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    fn inputs(files: &[&str], dirs: &[&str], except: &[&str]) -> Inputs {
        Inputs { files: set(files), dirs: set(dirs), except: set(except), as_of: None }
    }

    fn names(owners: &Owners, path: &str) -> Vec<String> {
        owners.of(Path::new(path)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_belongs_to_the_plugins_that_list_it_or_a_folder_above_it() {
        let (one, other) = ("a.one".parse().unwrap(), "a.other".parse().unwrap());
        let mut owners = Owners::default();
        owners.set(&one, inputs(&["/w/common.h", "/w/one/out/kept"], &["/w/one"], &["/w/one/out"]));
        owners.set(&other, inputs(&["/w/common.h"], &["/w/one/src", "/w/other"], &[]));
        assert_eq!(names(&owners, "/w/common.h"), ["a.one", "a.other"]);
        assert_eq!(names(&owners, "/w/one/src/lib.rs"), ["a.one", "a.other"]);
        assert_eq!(names(&owners, "/w/one/src"), ["a.one"], "a folder is not below itself");
        assert_eq!(names(&owners, "/w/one/Cargo.toml"), ["a.one"]);
        assert_eq!(names(&owners, "/w/one/out/made.rs"), [""; 0]);
        assert_eq!(
            names(&owners, "/w/one/out/kept"),
            ["a.one"],
            "a listed file is an input even in an excepted folder"
        );
        assert_eq!(names(&owners, "/w/one/target/x"), [""; 0]);
        assert_eq!(names(&owners, "/w/one-more/lib.rs"), [""; 0]);
        assert!(
            owners.has_dir_above(Path::new("/w/other/deep/er")) && !owners.has_dir_above(Path::new("/w"))
        );
    }

    #[test]
    fn removed_and_replaced_inputs_no_longer_count() {
        let one = "a.one".parse().unwrap();
        let mut owners = Owners::default();
        assert!(!owners.set(&one, inputs(&["/w/a"], &["/w/dir"], &[])), "it had no inputs");
        assert!(!owners.set(&one, inputs(&["/w/a"], &["/w/dir"], &[])), "it had the same inputs");
        assert!(owners.set(&one, inputs(&["/w/b"], &[], &[])));
        assert!(names(&owners, "/w/a").is_empty() && names(&owners, "/w/dir/x").is_empty());
        assert!(owners.has_file(Path::new("/w/b")) && !owners.has_file(Path::new("/w/a")));
        assert!(owners.remove(&one).is_some() && owners.remove(&one).is_none());
        assert!(!owners.has_file(Path::new("/w/b")) && owners.iter().next().is_none());
    }
}
