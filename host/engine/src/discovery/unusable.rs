//! Plugins whose manifest became invalid while no host ran. They start with their last accepted manifest.

use crate::{
    id::PluginId,
    manifest::{self, Defaults, Discovery, Manifest, ManifestError},
    record::Records,
};
use std::{collections::BTreeMap, fs};

/// The plugins that start with their last accepted manifest, and why their current manifest cannot be used.
pub(crate) type Unusable = BTreeMap<PluginId, ManifestError>;

/// For each manifest that cannot be used, adds the last accepted manifest of the same folder to `discovery`. A missing
/// manifest, or a manifest with a different id, is not replaced.
pub(crate) fn restore(discovery: &mut Discovery, records: &Records, defaults: &Defaults) -> Unusable {
    let mut unusable = Unusable::new();
    for problem in std::mem::take(&mut discovery.problems) {
        let accepted = accepted(&problem, records, defaults);
        match accepted.filter(|it| discovery.manifests.iter().all(|found| found.id != it.id)) {
            Some(manifest) => {
                unusable.insert(manifest.id.clone(), problem);
                discovery.manifests.push(manifest);
            }
            None => discovery.problems.push(problem),
        }
    }
    discovery.manifests.sort_by(|a, b| a.id.cmp(&b.id));
    unusable
}

fn accepted(problem: &ManifestError, records: &Records, defaults: &Defaults) -> Option<Manifest> {
    if let ManifestError::DuplicateId { .. } | ManifestError::Missing { .. } = problem {
        return None;
    }
    let path = problem.path();
    let is_manifest = path.file_name().is_some_and(|name| manifest::FILE_NAMES.iter().any(|it| name == *it));
    // A manifest may be a link. The plugin's folder is the folder that contains the link.
    let root = if is_manifest { path.parent()? } else { path };
    let root = fs::canonicalize(root).ok()?;
    let present_id = manifest::id_in(&root);
    let mut records = records.accepted_in(&root).into_iter();
    let (id, accepted) = records.find(|(id, _)| present_id.as_ref().is_none_or(|present| present == id))?;
    defaults.read_kept(&accepted.file, &accepted.text).ok().filter(|read| read.id == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::discover;
    use std::path::PathBuf;
    use tempfile::TempDir;

    const ACCEPTED: &str = "id = 'dev.test.one'\nname = 'accepted'\n";

    /// A plugins folder, and the records of its plugins. The manifest [`ACCEPTED`] is in the folder `one`, and in the
    /// record of `dev.test.one`.
    struct Bench {
        dir: TempDir,
        records: Records,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let records = Records::in_dir(dir.path().join("state"), &dir.path().join("run/1-1"), |_| false);
            let bench = Self { dir, records };
            bench.accept("one", ACCEPTED);
            bench
        }

        fn root(&self, folder: &str) -> PathBuf {
            self.dir.path().join("plugins").join(folder)
        }

        fn write(&self, path: &str, text: &str) {
            let file = self.root(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        fn accept(&self, folder: &str, text: &str) {
            self.write(&format!("{folder}/plugin.toml"), text);
            let manifest = manifest::read(&self.root(folder)).unwrap();
            self.records.of(&manifest.id).change(|record| record.serves_under(&manifest));
        }

        /// The ids and names of the plugins that are started, the ids of the plugins that start with their last
        /// accepted manifest, and the number of problems that remain.
        fn found(&self) -> (Vec<String>, Vec<String>, usize) {
            let mut discovery = discover(&self.dir.path().join("plugins")).unwrap();
            let unusable = restore(&mut discovery, &self.records, &Defaults::default());
            let plugins = discovery.manifests.iter().map(|it| format!("{} {}", it.id, it.name)).collect();
            (plugins, unusable.keys().map(ToString::to_string).collect(), discovery.problems.len())
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_broken_manifest_is_replaced_by_the_accepted_one_of_its_folder() {
        let bench = Bench::new();
        let file = bench.root("one/plugin.toml");
        assert_eq!(bench.found(), (vec!["dev.test.one accepted".into()], Vec::new(), 0));
        let restored = (vec!["dev.test.one accepted".to_owned()], vec!["dev.test.one".to_owned()], 0);
        for broken in ["", "id = ", "id = '!'", "id = 'dev.test.one'\nnone = 1", "name = 'no id'"] {
            fs::write(&file, broken).unwrap();
            assert_eq!(bench.found(), restored, "{broken}");
        }
        bench.write("one/plugin.json", "{}");
        assert_eq!(bench.found(), restored, "the folder has two manifests");
        fs::remove_file(bench.root("one/plugin.json")).unwrap();
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(bench.found(), restored, "the manifest is a folder");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_manifest_of_another_plugin_or_folder_is_not_replaced() {
        let bench = Bench::new();
        let none = (Vec::new(), Vec::new(), 1);
        bench.write("one/plugin.toml", "id = 'dev.test.two'\nnone = 1");
        assert_eq!(bench.found(), none, "the manifest has a different id");
        fs::remove_dir_all(bench.root("one")).unwrap();
        bench.write("two/plugin.toml", "id = ");
        assert_eq!(bench.found(), none, "nothing was accepted in this folder");
        bench.write("one/plugin.json", "{}");
        bench.write("two/plugin.toml", "id = 'dev.test.one'\nname = 'moved'");
        assert_eq!(
            bench.found(),
            (vec!["dev.test.one moved".into()], Vec::new(), 1),
            "the accepted plugin is in another folder"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_two_plugins_recorded_for_a_folder_the_latest_is_restored() {
        let bench = Bench::new();
        let written = |id: &str| bench.dir.path().join("state").join(id).join("record.json");
        bench.accept("one", "id = 'dev.test.two'\n");
        let long_ago = fs::File::open(written("dev.test.one")).unwrap();
        long_ago.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        bench.write("one/plugin.toml", "id = ");
        assert_eq!(bench.found(), (vec!["dev.test.two two".into()], vec!["dev.test.two".into()], 0));
        bench.write("one/plugin.toml", "id = 'dev.test.one'\nnone = 1");
        assert_eq!(bench.found().1, ["dev.test.one"], "the id in the manifest identifies the plugin");
    }
}
