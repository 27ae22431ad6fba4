//! Determines whether a build itself may have written one of its inputs, and when.

use super::FactsKey;
use crate::watch::changed_at;
use cargo_metadata::BuildScript;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Whether a build itself may have written a file that changed during the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnWrites {
    /// No step of the build writes the file.
    None,
    /// The build script of the file's package may have written the file until this time, at which the script exited.
    /// The compiler reads the file after that.
    Until(SystemTime),
    /// The build script of the file's package may be running, and may write the file. The compiler reads the file after
    /// the script has exited.
    Possible,
    /// One step of the build may write the file while another step reads it.
    Unordered,
}

/// Whether a build is running when [`OwnWrites`] is determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A build is running. The file may also have been written by the previous build, which this build cancelled.
    During,
    /// No build is running.
    After,
}

/// The build scripts of the plugin's package and its path dependencies, by the folder of their package.
#[derive(Debug, Default)]
pub(super) struct ScriptRuns {
    /// When each script last exited.
    ended: Mutex<BTreeMap<PathBuf, SystemTime>>,
    /// For each running build, the scripts that cargo has not reported as run yet.
    awaited: Mutex<BTreeMap<FactsKey, BTreeSet<PathBuf>>>,
}

/// A running build. Drop this value when the build has finished or was cancelled.
pub(super) struct RunningBuild<'r> {
    runs: &'r ScriptRuns,
    build: FactsKey,
}

impl Drop for RunningBuild<'_> {
    fn drop(&mut self) {
        self.runs.awaited.lock().remove(&self.build);
    }
}

impl RunningBuild<'_> {
    /// Records that a build script has run, or that cargo did not need to run it.
    pub(super) fn note(&self, script: &BuildScript) {
        let Some(folder) = folder_of(&script.package_id.repr) else { return };
        // Cargo writes the script's output when the script has exited, and then starts the compiler. Cargo sets the
        // mtime of the output file to the start of the script, so only its ctime shows when the script exited.
        let output = script.out_dir.as_std_path().parent().map(|it| it.join("output"));
        let ended = output.filter(|path| path.exists()).and_then(|path| changed_at(&path));
        self.runs.ended.lock().insert(folder.clone(), ended.unwrap_or_else(SystemTime::now));
        if let Some(awaited) = self.runs.awaited.lock().get_mut(&self.build) {
            awaited.remove(&folder);
        }
    }
}

impl ScriptRuns {
    /// Records that a build of the packages in these folders begins.
    pub(super) fn begin(&self, build: FactsKey, packages: &BTreeSet<PathBuf>) -> RunningBuild<'_> {
        let scripted = packages.iter().filter(|folder| has_script(folder)).cloned().collect();
        self.awaited.lock().insert(build.clone(), scripted);
        RunningBuild { runs: self, build }
    }

    /// Whether a build of the packages in these folders may have written the file at `path`.
    pub(super) fn of(
        &self,
        (build, moment): (&FactsKey, Moment),
        packages: &BTreeSet<PathBuf>,
        path: &Path,
    ) -> OwnWrites {
        let owner = packages.iter().filter(|it| path.starts_with(it)).max_by_key(|it| it.as_os_str().len());
        // A script does not write its own source. Nor does it write the manifest, which cargo reads before it runs
        // the script.
        if owner.is_some_and(|folder| path == folder.join("build.rs") || path == folder.join("Cargo.toml")) {
            return OwnWrites::None;
        }
        let awaited = self.awaited.lock();
        let own = awaited.get(build);
        let has_yet_to_begin = own.is_none() && moment == Moment::During;
        if let Some(folder) = owner {
            if own.is_some_and(|own| own.contains(folder)) || has_yet_to_begin && has_script(folder) {
                return OwnWrites::Possible;
            }
            // The build of another plugin runs the script, while the compiler of this plugin's build may read the file.
            if awaited.values().any(|other| other.contains(folder)) {
                return OwnWrites::Unordered;
            }
            if let Some(ended) = self.ended.lock().get(folder) {
                return OwnWrites::Until(*ended);
            }
        }
        let others_may = match own {
            Some(awaited) => !awaited.is_empty(),
            None => has_yet_to_begin && packages.iter().any(|folder| has_script(folder)),
        };
        if others_may { OwnWrites::Unordered } else { OwnWrites::None }
    }
}

/// Whether the package in this folder has a build script: `build.rs`, or one that its manifest names.
fn has_script(folder: &Path) -> bool {
    let names_one = |text: String| {
        let keys = text.lines().filter_map(|line| line.split_once('='));
        keys.map(|(key, _)| key.trim()).any(|key| key == "build")
    };
    folder.join("build.rs").is_file() || fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(names_one)
}

/// The folder of a path dependency. Its package id is `path+file:///folder#name@version`, or
/// `name version (path+file:///folder)` with a cargo older than 1.77.
fn folder_of(package_id: &str) -> Option<PathBuf> {
    let older = package_id.split_once(" (").and_then(|(_, source)| source.strip_suffix(')'));
    let url = older.unwrap_or(package_id).strip_prefix("path+file://")?;
    let path = url.split_once('#').map_or(url, |(path, _)| path);
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        let mut decoded = || u8::from_str_radix(str::from_utf8(&[rest.next()?, rest.next()?]).ok()?, 16).ok();
        bytes.push(if byte == b'%' { decoded()? } else { byte });
    }
    Some(PathBuf::from(String::from_utf8(bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> FactsKey {
        ("/w/plugin".into(), None)
    }

    fn script(folder: &Path, out_dir: &Path) -> BuildScript {
        let json = serde_json::json!({
            "package_id": format!("path+file://{}#0.1.0", folder.display()),
            "linked_libs": [], "linked_paths": [], "cfgs": [], "env": [], "out_dir": out_dir,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_script_may_write_only_in_its_package_and_before_it_exits() {
        let dir = tempfile::tempdir().unwrap();
        let (scripted, plain) = (dir.path().join("scripted"), dir.path().join("plain"));
        for folder in [&scripted, &plain] {
            fs::create_dir_all(folder.join("src")).unwrap();
        }
        fs::write(scripted.join("build.rs"), "fn main() {}").unwrap();
        let packages: BTreeSet<_> = [scripted.clone(), plain.clone()].into();
        let (runs, source) = (ScriptRuns::default(), scripted.join("src/pb/a.rs"));
        let at = |moment, path: &Path| runs.of((&key(), moment), &packages, path);
        let of = |path: &Path| at(Moment::During, path);
        assert_eq!([at(Moment::After, &source), of(&source)], [OwnWrites::None, OwnWrites::Possible]);
        let running = runs.begin(key(), &packages);
        assert_eq!(of(&source), OwnWrites::Possible);
        assert_eq!(of(&plain.join("src/lib.rs")), OwnWrites::Unordered);
        assert_eq!(of(&scripted.join("build.rs")), OwnWrites::None);
        let another = ("/w/another".into(), None);
        assert_eq!(runs.of((&another, Moment::After), &packages, &source), OwnWrites::Unordered);

        let out = dir.path().join("made/build/scripted-1/out");
        fs::create_dir_all(&out).unwrap();
        let output = fs::File::create(out.parent().unwrap().join("output")).unwrap();
        output.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        running.note(&script(&scripted, &out));
        let ended = changed_at(&out.parent().unwrap().join("output")).unwrap();
        assert_eq!(of(&source), OwnWrites::Until(ended));
        assert_eq!(of(&plain.join("src/lib.rs")), OwnWrites::None);
        drop(running);
        assert_eq!(at(Moment::After, &source), OwnWrites::Until(ended));
    }

    #[test]
    fn a_script_named_by_the_manifest_may_write_until_its_build_is_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("Cargo.toml"), "[package]\nbuild = \"generate.rs\"\n").unwrap();
        let packages: BTreeSet<_> = [dir.path().to_owned()].into();
        let (runs, source) = (ScriptRuns::default(), dir.path().join("src/lib.rs"));
        let running = runs.begin(key(), &packages);
        assert_eq!(runs.of((&key(), Moment::During), &packages, &source), OwnWrites::Possible);
        drop(running);
        assert_eq!(runs.of((&key(), Moment::After), &packages, &source), OwnWrites::None);
    }

    #[test]
    fn folder_of_parses_every_form_of_a_package_id() {
        let folder = Some(PathBuf::from("/w/my (1) plugin"));
        for id in [
            "path+file:///w/my%20(1)%20plugin#dep@0.1.0",
            "path+file:///w/my%20(1)%20plugin#0.1.0",
            "dep 0.1.0 (path+file:///w/my%20(1)%20plugin)",
        ] {
            assert_eq!(folder_of(id), folder, "{id}");
        }
        for id in [
            "registry+https://github.com/rust-lang/crates.io-index#serde@1.0.0",
            "serde 1.0.0 (registry+https://github.com/rust-lang/crates.io-index)",
        ] {
            assert_eq!(folder_of(id), None, "{id}");
        }
    }
}
