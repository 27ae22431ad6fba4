//! What a run of cargo has compiled. If plugins of one workspace share a crate, an edit of that crate makes all of them
//! rebuild. The cargo that builds the first of these plugins compiles the shared crate. As soon as it has done so, the
//! builds of the other plugins need no cargo: they repeat their recorded calls of rustc, at the same time as the first.
//!
//! **Never allowed:** an artifact that cargo would not have built from the same files. A build may do without cargo only
//! if the other run of cargo has compiled every changed file that the build needs, or has considered its crate fresh.

use super::{
    content::{InputContent, InputStamp, stamp},
    facts::PackageFacts,
    fingerprints::invoked,
    units::{Reported, Unit, is_downloaded},
};
use cargo_metadata::Message;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// The stamps of files. `None` if the file does not exist.
pub(super) type Stamps = BTreeMap<PathBuf, Option<InputStamp>>;

/// What a running cargo has compiled so far, or what a finished one has compiled.
#[derive(Debug)]
pub(super) struct Compiled {
    began: SystemTime,
    configuration: BTreeSet<PathBuf>,
    /// The contents of the known input files when the run began.
    before: BTreeMap<PathBuf, InputContent>,
    reported: Mutex<Reported>,
    libraries: Mutex<BTreeMap<PathBuf, Library>>,
    /// For each file that this run has compiled, the content that rustc has read. `None` if that content is unknown,
    /// because the file was written while rustc may have read it.
    read: Mutex<BTreeMap<PathBuf, Option<InputContent>>>,
}

/// A file that cargo has reported as the output of a crate.
#[derive(Debug)]
struct Library {
    stamp: Option<InputStamp>,
    is_downloaded: bool,
}

/// What a recorded call of rustc reads, except for the sources of its own crate.
#[derive(Debug)]
pub(super) struct Needs {
    /// The libraries of the direct dependencies.
    externs: BTreeSet<PathBuf>,
    /// Those of `externs` that no edit changes: they belong to downloaded crates.
    lasting: BTreeSet<PathBuf>,
    /// The local units other than the own crate. The keys are those of [`Compiled::units`].
    units: BTreeSet<String>,
    /// The files that determine how cargo calls rustc, such as manifests.
    settings: BTreeSet<PathBuf>,
    /// The existing files that configure cargo for the package.
    configuration: BTreeSet<PathBuf>,
}

impl Compiled {
    pub(super) fn new(
        facts: &PackageFacts,
        (began, before): (SystemTime, BTreeMap<PathBuf, InputContent>),
    ) -> Self {
        let reported = Mutex::new(Reported::new(&facts.workspace_root, &facts.target_dir));
        let configuration = facts.configuration();
        Self { began, configuration, before, reported, libraries: Mutex::default(), read: Mutex::default() }
    }

    /// When the run began.
    pub(super) fn began(&self) -> SystemTime {
        self.began
    }

    /// Processes a message of cargo. Returns whether cargo has finished another unit.
    pub(super) fn note(&self, message: &Message) -> bool {
        let unit = self.reported.lock().note(message);
        let Message::CompilerArtifact(artifact) = message else { return false };
        if let Some((unit, library)) = unit.zip(artifact.filenames.first()).filter(|_| !artifact.fresh) {
            self.note_read(&unit, library.as_std_path());
        }
        let is_downloaded = artifact.manifest_path.parent().is_some_and(|it| is_downloaded(it.as_std_path()));
        let libraries = artifact.filenames.iter().map(|file| {
            let file = file.clone().into_std_path_buf();
            let stamp = stamp(&file);
            (file, Library { stamp, is_downloaded })
        });
        self.libraries.lock().extend(libraries);
        true
    }

    /// Records which contents rustc has read for the crate `unit`, which cargo has just compiled to `library`.
    fn note_read(&self, unit: &Unit, library: &Path) {
        let Some(invoked) = invoked(unit, library) else { return };
        for path in unit.all_files() {
            let content = InputContent::of(&path, self.before.get(&path));
            // A tick is shorter than the time from cargo's note of the call until rustc reads a source.
            let content = Some(content).filter(|content| content.is_older_than_write_of(&invoked));
            // Another crate may have been compiled from another content of the same file.
            let mut read = self.read.lock();
            let known = read.entry(path).or_insert_with(|| content.clone());
            let is_same = known.as_ref().zip(content.as_ref()).is_some_and(|(known, it)| known.is_same(it));
            *known = known.take().filter(|_| is_same);
        }
    }

    /// The local units that cargo has built or considered fresh so far. The key of a unit is the file that lists its
    /// inputs.
    pub(super) fn units(&self) -> BTreeMap<String, Unit> {
        self.reported.lock().units()
    }

    /// The current content of a file, if it is certain that the file had this content when the run began and when rustc
    /// read it. In between, the file may have had another content.
    pub(super) fn content(&self, path: &Path) -> Option<InputContent> {
        let before = self.before.get(path);
        let now = InputContent::of(path, before);
        let is_certain = before.map_or_else(|| now.is_older_than(self.began), |before| before.is_same(&now));
        let is_read = match self.read.lock().get(path) {
            Some(read) => read.as_ref().is_some_and(|read| read.is_same(&now)),
            None => true,
        };
        (is_certain && is_read).then_some(now)
    }

    /// What the recorded call with these `externs` needs. This run has made them. `own` is the list of the inputs of the
    /// call's own crate.
    pub(super) fn needs(
        &self,
        facts: &PackageFacts,
        (externs, own): (BTreeSet<PathBuf>, &Path),
        settings: BTreeSet<PathBuf>,
    ) -> Needs {
        let libraries = self.libraries.lock();
        let is_lasting = |path: &&PathBuf| libraries.get(*path).is_some_and(|it| it.is_downloaded);
        let lasting = match facts.downloads_need_local_crates() {
            true => BTreeSet::new(),
            false => externs.iter().filter(is_lasting).cloned().collect(),
        };
        let units = self.units().into_keys().filter(|list| Path::new(list) != own).collect();
        let configuration = self.configuration.clone();
        Needs { externs, lasting, units, settings, configuration }
    }

    /// Determines whether a call of rustc with these needs gives the same result as cargo after this run. `known` are
    /// the stamps of the files that the call read, as of its last build. Returns the stamps that have changed, or `None` if
    /// cargo has to build or if no stamp has changed.
    pub(super) fn covers(&self, needs: &Needs, known: &Stamps) -> Option<Stamps> {
        // Cargo may use different flags for the same crate if another plugin's folder has a configuration of its own.
        if self.configuration != needs.configuration {
            return None;
        }
        {
            let libraries = self.libraries.lock();
            let is_made = |path: &PathBuf| libraries.get(path).is_some_and(|it| it.stamp == stamp(path));
            let lasts =
                |path: &PathBuf| needs.lasting.contains(path) && known.get(path) == Some(&stamp(path));
            if !needs.externs.iter().all(|path| is_made(path) || lasts(path)) {
                return None;
            }
        }
        let changed = known.iter().map(|(path, known)| (path, known, stamp(path)));
        let changed = changed.filter(|(_, known, now)| *known != now);
        let mut changed: Stamps = changed.map(|(path, _, now)| (path.clone(), now)).collect();
        if changed.is_empty() {
            return None;
        }
        let units = self.units().into_iter().filter(|(list, _)| needs.units.contains(list));
        let sources: BTreeSet<PathBuf> = units.flat_map(|(_, unit)| unit.all_files()).collect();
        let is_setting = |path: &PathBuf| needs.settings.contains(path) || path.ends_with("Cargo.toml");
        let is_compiled =
            |path: &PathBuf| needs.externs.contains(path) || sources.contains(path) && !is_setting(path);
        if !changed.keys().all(is_compiled) {
            return None;
        }
        for path in sources {
            let now = self.content(&path)?.stamp();
            if known.get(&path) != Some(&now) {
                changed.insert(path, now);
            }
        }
        Some(changed)
    }
}
