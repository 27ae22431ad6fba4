//! Determines the units that cargo has built, and their inputs, from the messages and files that cargo writes.
//!
//! Only files that an author may edit count as inputs. A crate that cargo has downloaded never changes. But if a
//! folder, a patch or an override replaces such a crate, the files of the replacement count.

use super::{cargo::dep_info_sources, settings::cargo_home};
use crate::watch::{is_ignored, is_ignored_below};
use cargo_metadata::{Artifact, BuildScript, Message, TargetKind};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// A step of a build, which cargo skips if it considers the step fresh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    /// The name of the unit's package.
    pub(super) package: String,
    /// The folder of the unit's package. `None` if cargo rejects changes of the package.
    pub(super) folder: Option<PathBuf>,
    pub(super) kind: Kind,
    /// The input files of the unit, which need not exist.
    pub(super) files: BTreeSet<PathBuf>,
    /// The folders in which every file is an input.
    pub(super) dirs: BTreeSet<PathBuf>,
    /// The folder of the package, if every file of the package is an input.
    pub(super) package_dir: Option<PathBuf>,
}

/// The kind of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    /// A crate.
    Crate,
    /// The program of a build script.
    Script,
    /// The run of a build script.
    ScriptRun,
}

impl Unit {
    /// Whether the unit depends on this path, even if no file exists there.
    pub(super) fn is_made_from(&self, path: &Path) -> bool {
        let below = |dir: &&PathBuf| path.starts_with(dir) && !is_ignored_below(dir, path);
        self.files.contains(path)
            || self.dirs.iter().any(|dir| below(&dir))
            || self.package_dir.as_ref().filter(below).is_some_and(|dir| {
                let mut between = path.ancestors().skip(1).take_while(|it| it != dir);
                between.all(|folder| !is_package(folder))
            })
    }

    /// The manifest of the package, and those in the folders above it, up to the first that defines a workspace. The
    /// manifest of a workspace that lies elsewhere and is named by `package.workspace` is not included. That of the
    /// plugin's own workspace is always an input of the build.
    pub(super) fn manifests(&self) -> BTreeSet<PathBuf> {
        let mut manifests = BTreeSet::new();
        for folder in self.folder.iter().flat_map(|folder| folder.ancestors()) {
            let file = folder.join("Cargo.toml");
            let Ok(text) = fs::read_to_string(&file) else { continue };
            manifests.insert(file);
            if text.contains("[workspace") {
                break;
            }
        }
        manifests
    }

    /// The build script of the package, which need not exist. Cargo runs it as soon as it exists.
    pub(super) fn script(&self) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("build.rs"))
    }

    /// The links that lie in one of `dirs`, at any depth, and lead to a folder.
    pub(super) fn linked_dirs(&self) -> BTreeSet<PathBuf> {
        self.dirs.iter().flat_map(|dir| linked_folders(dir, Nested::Included)).collect()
    }

    /// The package's folder, and the links in it that lead to a folder. Empty unless every file of the package is an
    /// input.
    pub(super) fn package_dirs(&self) -> BTreeSet<PathBuf> {
        let dir = self.package_dir.iter();
        dir.flat_map(|dir| linked_folders(dir, Nested::Excluded).into_iter().chain([dir.clone()])).collect()
    }

    /// All input files of the unit, including listed files that do not exist.
    pub(super) fn all_files(&self) -> BTreeSet<PathBuf> {
        let mut files = self.files.clone();
        self.dirs.iter().for_each(|dir| files_below(dir, Nested::Included, &mut files));
        self.package_dir.iter().for_each(|dir| files_below(dir, Nested::Excluded, &mut files));
        files
    }
}

/// Whether the content of a folder includes the files of packages that are nested in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nested {
    Included,
    Excluded,
}

/// Adds the files of a folder and of the folders in it to `files`. Follows links, as cargo does.
pub(super) fn files_below(dir: &Path, nested: Nested, files: &mut BTreeSet<PathBuf>) {
    walk(dir, nested, &mut Vec::new(), &mut |found| {
        if let Found::File(path) = found {
            files.insert(path);
        }
    });
}

/// The links below `dir` that lead to a folder. Links below these folders are included, too.
pub(super) fn linked_folders(dir: &Path, nested: Nested) -> BTreeSet<PathBuf> {
    let mut links = BTreeSet::new();
    walk(dir, nested, &mut Vec::new(), &mut |found| {
        if let Found::Link(path) = found {
            links.insert(path);
        }
    });
    links
}

/// An entry of a folder.
enum Found {
    File(PathBuf),
    /// A link to a folder, which is followed.
    Link(PathBuf),
}

/// Visits all files below a folder and all links to folders. `above` lists the folders on the way to `dir` by device
/// and inode, to detect cycles of links.
fn walk(dir: &Path, nested: Nested, above: &mut Vec<(u64, u64)>, visit: &mut impl FnMut(Found)) {
    // A link to a folder that contains the link makes a cycle.
    let id = fs::metadata(dir).ok().map(|it| (it.dev(), it.ino())).filter(|id| !above.contains(id));
    let Some(id) = id else { return };
    above.push(id);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if is_ignored(&entry.file_name().to_string_lossy()) {
            continue;
        }
        if !path.is_dir() {
            visit(Found::File(path));
        } else if nested == Nested::Included || !is_package(&path) {
            if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
                visit(Found::Link(path.clone()));
            }
            walk(&path, nested, above, visit);
        }
    }
    above.pop();
}

/// The packages below a package's folder, without the packages that are nested in one of the returned packages.
pub(super) fn nested_packages(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let is_source = !is_ignored(&entry.file_name().to_string_lossy());
            if is_source && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let into = if is_package(&entry.path()) { &mut found } else { &mut open };
                into.push(entry.path());
            }
        }
    }
    found
}

fn is_package(folder: &Path) -> bool {
    folder.join("Cargo.toml").exists()
}

/// The packages and units that cargo has reported for a build so far.
#[derive(Debug)]
pub(super) struct Reported {
    workspace_root: PathBuf,
    target_dir: PathBuf,
    /// The folders of the packages, by package id.
    folders: BTreeMap<String, PathBuf>,
    /// The units. The key is the file in which cargo or rustc lists the unit's inputs.
    made: BTreeMap<PathBuf, (String, Kind)>,
}

impl Reported {
    pub(super) fn new(workspace_root: &Path, target_dir: &Path) -> Self {
        Self {
            workspace_root: workspace_root.to_owned(),
            target_dir: target_dir.to_owned(),
            folders: BTreeMap::new(),
            made: BTreeMap::new(),
        }
    }

    /// Processes a message of cargo. If the message reports a unit of the kind [`Kind::Crate`], returns the unit.
    pub(super) fn note(&mut self, message: &Message) -> Option<Unit> {
        match message {
            Message::CompilerArtifact(artifact) => self.note_artifact(artifact),
            Message::BuildScriptExecuted(run) => {
                self.note_script_run(run);
                None
            }
            _ => None,
        }
    }

    fn note_artifact(&mut self, artifact: &Artifact) -> Option<Unit> {
        let folder = artifact.manifest_path.parent()?.as_std_path();
        if is_downloaded(folder) {
            return None;
        }
        self.folders.insert(artifact.package_id.repr.clone(), folder.to_owned());
        let made = artifact.filenames.first()?.as_std_path();
        let (kind, list) = if artifact.target.kind.contains(&TargetKind::CustomBuild) {
            (Kind::Script, first_dep_info(made.parent()?)?)
        } else {
            let stem = made.file_stem()?.to_str()?;
            let name = format!("{}.d", stem.strip_prefix("lib").unwrap_or(stem));
            let dir = made.parent()?;
            // Cargo puts the requested artifacts one folder above `deps`.
            let deps = if dir.ends_with("deps") { dir.to_owned() } else { dir.join("deps") };
            (Kind::Crate, deps.join(name))
        };
        self.made.insert(list.clone(), (artifact.package_id.repr.clone(), kind));
        self.unit(&list, &artifact.package_id.repr, kind).filter(|_| kind == Kind::Crate)
    }

    fn note_script_run(&mut self, run: &BuildScript) -> Option<()> {
        // `folders` has the package, because cargo reports the script's program before its run. Only downloaded
        // packages are missing.
        self.folders.get(&run.package_id.repr)?;
        let list = run.out_dir.parent()?.join("output").into();
        self.made.insert(list, (run.package_id.repr.clone(), Kind::ScriptRun));
        Some(())
    }

    /// The units that cargo has built or considered fresh. The key of a unit is the file that lists its inputs.
    pub(super) fn units(&self) -> BTreeMap<String, Unit> {
        let unit = |(list, (package, kind)): (&PathBuf, &(String, Kind))| {
            Some((list.to_str()?.to_owned(), self.unit(list, package, *kind)?))
        };
        self.made.iter().filter_map(unit).collect()
    }

    /// The unit whose inputs are in `list`.
    fn unit(&self, list: &Path, package: &str, kind: Kind) -> Option<Unit> {
        let folder = self.folders.get(package)?;
        let mut unit = Unit {
            package: name_of(package)?.to_owned(),
            folder: Some(folder.clone()),
            kind,
            files: BTreeSet::new(),
            dirs: BTreeSet::new(),
            package_dir: None,
        };
        let checksum_list = folder.join(CHECKSUMS);
        // Cargo does not check the files of a path dependency, even if its folder comes from `cargo vendor`.
        let is_checked = !package.contains("path+") && checksum_list.exists() && checksums(folder);
        if is_checked {
            unit.folder = None;
            unit.files.insert(checksum_list);
        } else if kind == Kind::ScriptRun {
            reads_of_script(list, folder, &mut unit);
        } else {
            let sources = dep_info_sources(&fs::read_to_string(list).unwrap_or_default());
            let sources = sources.into_iter().map(|path| self.resolve(&path, folder));
            unit.files.extend(sources.filter(|path| !path.starts_with(&self.target_dir)));
        }
        // A path that is not UTF-8 cannot be recorded. For such a file, only cargo's own check applies.
        unit.files.retain(|path| path.to_str().is_some());
        Some(unit)
    }

    /// The absolute path of a source that rustc has listed. rustc runs in the workspace's folder for a package of the
    /// workspace, and otherwise in the package's own folder.
    fn resolve(&self, path: &Path, folder: &Path) -> PathBuf {
        let here = self.workspace_root.join(path);
        if here.exists() { here } else { folder.join(path) }
    }
}

/// Adds the inputs that a build script has declared to `unit`. If the script has declared none, adds the whole package.
fn reads_of_script(output: &Path, folder: &Path, unit: &mut Unit) {
    let text = String::from_utf8_lossy(&fs::read(output).unwrap_or_default()).into_owned();
    let mut has_rerun_lines = false;
    for line in text.lines() {
        let Some(word) = line.strip_prefix("cargo::").or_else(|| line.strip_prefix("cargo:")) else {
            continue;
        };
        has_rerun_lines |= word.starts_with("rerun-if-");
        if let Some(path) = word.strip_prefix("rerun-if-changed=") {
            let path = folder.join(path.trim_end());
            if path.is_dir() {
                unit.dirs.insert(path)
            } else {
                unit.files.insert(path)
            };
        }
    }
    if !has_rerun_lines {
        unit.package_dir = Some(folder.to_owned());
    }
}

fn first_dep_info(dir: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(dir).ok()?.flatten().map(|entry| entry.path());
    files.find(|path| path.extension().is_some_and(|it| it == "d"))
}

/// The file in which a vendored package lists the checksums of its files.
const CHECKSUMS: &str = ".cargo-checksum.json";

/// Whether the file [`CHECKSUMS`] of a package lists checksums. If it does, cargo rejects changed files of the package,
/// so only the list needs to be watched.
fn checksums(folder: &Path) -> bool {
    let text = fs::read_to_string(folder.join(CHECKSUMS)).unwrap_or_default();
    let found: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    found.and_then(|it| Some(!it.get("files")?.as_object()?.is_empty())).unwrap_or(false)
}

/// Whether a package is in the folder of cargo's downloads.
pub(super) fn is_downloaded(folder: &Path) -> bool {
    cargo_home().is_some_and(|home| ["registry", "git"].iter().any(|it| folder.starts_with(home.join(it))))
}

/// The package name in a package id: `path+file:///a/b#name@0.1.0`, `path+file:///a/name#0.1.0`, or `name 0.1.0 (..)`
/// with an older cargo.
fn name_of(package: &str) -> Option<&str> {
    if let Some((name, _)) = package.split_once(' ') {
        return Some(name);
    }
    let (source, fragment) = package.split_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name),
        None => source.split('?').next()?.rsplit('/').next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_parses_every_form_of_a_package_id() {
        for id in [
            "path+file:///a/b#name@0.1.0",
            "path+file:///a/name#0.1.0",
            "git+https://host/name?branch=main#0.1.0",
            "name 0.1.0 (path+file:///a/b)",
        ] {
            assert_eq!(name_of(id), Some("name"), "{id}");
        }
    }

    #[test]
    fn a_script_without_rerun_lines_depends_on_the_whole_package() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("p");
        fs::create_dir_all(folder.join("data/deep")).unwrap();
        fs::create_dir_all(folder.join("nested")).unwrap();
        for name in ["data/deep/a", "one.txt", "nested/Cargo.toml", ".hidden"] {
            fs::write(folder.join(name), "").unwrap();
        }
        let unit = |output: &str| {
            let file = dir.path().join("output");
            fs::write(&file, output).unwrap();
            let mut unit = Unit {
                package: "p".into(),
                folder: Some(folder.clone()),
                kind: Kind::ScriptRun,
                files: BTreeSet::new(),
                dirs: BTreeSet::new(),
                package_dir: None,
            };
            reads_of_script(&file, &folder, &mut unit);
            unit.all_files()
        };
        let at = |names: &[&str]| names.iter().map(|name| folder.join(name)).collect::<BTreeSet<_>>();
        assert_eq!(unit("cargo:rerun-if-changed=one.txt\n"), at(&["one.txt"]));
        assert_eq!(unit("cargo::rerun-if-changed=data\nnoise"), at(&["data/deep/a"]));
        assert_eq!(unit("cargo::rerun-if-env-changed=X\n"), at(&[]));
        assert_eq!(unit("cargo::rustc-cfg=x\n"), at(&["data/deep/a", "one.txt"]));
    }
}
