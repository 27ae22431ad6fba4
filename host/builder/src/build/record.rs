//! Records the contents of the files from which cargo has built the units in its target folder.
//!
//! Cargo considers a unit fresh if no input file of the unit is newer than the unit. So cargo does not notice a changed
//! file that was moved, copied or unpacked with an older mtime. The *input record*, a file in the target folder, has a
//! hash of the content that each input file had when cargo last used it. Before a build, this module compares the
//! current contents with the recorded contents. If a file differs, this module deletes cargo's fingerprints of the units
//! that are built from the file, so that cargo rebuilds them.
//!
//! **Never allowed:** a unit that cargo considers fresh but that was built from contents other than the recorded ones.

use super::{
    BuildError,
    compiled::Compiled,
    content::{InputContent, InputStamp},
    facts::PackageFacts,
    fingerprints::Fingerprint,
    units::{Nested, Unit, files_below, nested_packages},
};
use crate::watch::{self, Inputs};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

const NAME: &str = "replug-inputs.json";

/// The maximum by which file times lag behind the clock: the kernel uses the time of its last tick.
const TICK: Duration = Duration::from_millis(20);

/// The input record: the inputs of all units in a target folder. Stored in that folder as `replug-inputs.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// The build that is running or that was cancelled, if there is one.
    unfinished: Option<Unfinished>,
    /// The units. The key is the file in which cargo or rustc lists the unit's inputs.
    units: BTreeMap<String, Unit>,
    /// The recorded contents of the files. The content of a file without an entry is unknown.
    contents: BTreeMap<PathBuf, InputContent>,
    /// For each plugin's package, the units of its last successful build, by their keys in `units`.
    plugins: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Unfinished {
    began: SystemTime,
    /// The keys of the units that the build has finished.
    reported: BTreeSet<String>,
}

impl Record {
    fn read(target_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(target_dir.join(NAME)).ok()?).ok()
    }

    fn write(&self, target_dir: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(target_dir)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.persist(target_dir.join(NAME))?;
        Ok(())
    }

    /// Adds the inputs of the given units to `inputs`.
    fn add(&self, units: &BTreeSet<String>, inputs: &mut Inputs) {
        let units: Vec<_> = units.iter().filter_map(|key| self.units.get(key)).collect();
        for unit in &units {
            inputs.files.extend(unit.files.iter().cloned().chain(unit.manifests()).chain(unit.script()));
            // The watcher does not follow links to folders inside these folders, so the links are inputs of their own.
            inputs.dirs.extend(unit.dirs.iter().cloned().chain(unit.linked_dirs()));
        }
        let package_dirs: BTreeSet<_> = units.iter().flat_map(|unit| unit.package_dirs()).collect();
        // A nested package does not belong to the outer package. It is excluded, unless it contains an input folder.
        let nested = package_dirs.iter().flat_map(|dir| nested_packages(dir));
        let nested: Vec<_> = nested.filter(|dir| !inputs.dirs.iter().any(|it| it.starts_with(dir))).collect();
        inputs.except.extend(nested);
        inputs.dirs.extend(package_dirs);
        // If a link in the path of a source folder later leads elsewhere, the sources are other files. So these links
        // are inputs, too.
        let folders =
            inputs.files.iter().filter_map(|file| file.parent()).chain(inputs.dirs.iter().map(|it| &**it));
        let folders: BTreeSet<_> = folders.collect();
        let links: Vec<_> = folders.into_iter().flat_map(watch::links_on).collect();
        inputs.files.extend(links);
    }
}

/// Adds the recorded inputs of the last successful build of the plugin's package to `inputs`. That build may have run
/// in an earlier host.
pub(super) fn add_known(facts: &PackageFacts, inputs: &mut Inputs) {
    if let Some(record) = Record::read(&facts.target_dir)
        && let Some(units) = record.plugins.get(&facts.package)
    {
        record.add(units, inputs);
    }
}

/// A build by cargo, from before its start until it has finished or was dropped.
pub(super) struct Run<'f> {
    facts: &'f PackageFacts,
    record: Record,
    compiled: Arc<Compiled>,
    end: End,
    /// The lock that excludes other processes from the input record, as cargo's own lock excludes them from the target
    /// folder.
    alone: Arc<fs::File>,
}

/// The outcome of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The build was dropped before it finished.
    CutShort,
    Failed,
    Succeeded,
}

impl<'f> Run<'f> {
    /// Makes cargo rebuild every unit with a file whose content has changed since cargo built the unit. Waits while
    /// another process builds in the same target folder.
    pub(super) async fn begin(facts: &'f PackageFacts) -> Result<Self, BuildError> {
        let dir = &facts.target_dir;
        let failed = |source| BuildError::Io {
            path: dir.clone(),
            source,
            remedy: "make it a writable folder with free space",
        };
        let alone = lock(dir.clone()).await.map_err(failed)?;
        let began = SystemTime::now();
        let (found, mut record) = match Record::read(dir) {
            Some(record) => (true, record),
            None => (false, Record::default()),
        };
        let prints = Fingerprint::all(dir);
        let mut stale: Vec<&Fingerprint> = Vec::new();
        if !found || record.unfinished.is_some() {
            let (downloaded, unfinished) = (facts.downloaded(), record.unfinished.as_ref());
            let finished = unfinished.into_iter().flat_map(|it| &it.reported);
            let finished: Vec<_> = finished.filter_map(|key| record.units.get(key)).collect();
            stale.extend(prints.iter().filter(|print| {
                unfinished.is_none_or(|it| print.made_at + TICK >= it.began)
                    && !downloaded.contains(&print.package)
                    && !finished.iter().any(|unit| print.is_of(unit))
            }));
        }
        let before = contents(&record, facts);
        let is_known = |(path, content): (&PathBuf, &InputContent)| {
            record.contents.get(path).is_some_and(|known| known.is_same(content))
        };
        let changed: Vec<&PathBuf> =
            before.iter().filter(|it| !is_known(*it)).map(|(path, _)| path).collect();
        let concerned =
            record.units.values().filter(|unit| changed.iter().any(|path| unit.is_made_from(path)));
        for unit in concerned {
            stale.extend(prints.iter().filter(|print| print.goes_with(unit)));
        }
        stale.iter().try_for_each(|print| print.remove()).map_err(failed)?;
        record.contents = before.clone();
        record.unfinished = Some(Unfinished { began, reported: BTreeSet::new() });
        record.write(dir).map_err(failed)?;
        let compiled = Arc::new(Compiled::new(facts, (began, before)));
        Ok(Self { facts, record, compiled, end: End::CutShort, alone: Arc::new(alone) })
    }

    /// The lock of the target folder. The cargo process holds it, too: a cancelled cargo may run for a while after this
    /// value was dropped.
    pub(super) fn lock(&self) -> Arc<fs::File> {
        Arc::clone(&self.alone)
    }

    /// What cargo has compiled so far.
    pub(super) fn compiled(&self) -> &Arc<Compiled> {
        &self.compiled
    }

    /// The manifests and build scripts of the local packages in the plugin's last successful build. The scripts need not
    /// exist.
    pub(super) fn manifests(&self) -> BTreeSet<PathBuf> {
        let units = self.record.plugins.get(&self.facts.package).into_iter().flatten();
        let units = units.filter_map(|key| self.record.units.get(key));
        units.flat_map(|unit| unit.manifests().into_iter().chain(unit.script())).collect()
    }

    /// Records that the build has finished. Adds its inputs to `inputs`, as far as cargo has reported them. Returns the
    /// stamps of the files whose content did not change during the build.
    pub(super) fn end(mut self, end: End, inputs: &mut Inputs) -> BTreeMap<PathBuf, Option<InputStamp>> {
        self.end = end;
        let (reported, unchanged) = self.settle();
        self.record.add(&reported, inputs);
        unchanged
    }

    /// Records the finished units, and the content of each of their inputs if that content is certain. Returns the keys
    /// of the units, and the stamps of the inputs whose content is certain.
    fn settle(&mut self) -> (BTreeSet<String>, BTreeMap<PathBuf, Option<InputStamp>>) {
        let mut certain = BTreeMap::new();
        let units = self.compiled.units();
        let keys: BTreeSet<String> = units.keys().cloned().collect();
        for path in units.values().flat_map(Unit::all_files) {
            if let Some(now) = self.compiled.content(&path) {
                certain.insert(path.clone(), now.stamp());
                self.record.contents.insert(path, now);
            } else {
                // The file changed during the build, so it is unknown which content cargo used.
                self.record.contents.remove(&path);
            }
        }
        self.record.units.extend(units);
        if self.end == End::Succeeded {
            // A unit whose list of inputs is gone no longer exists. Such units are removed only after a successful
            // build. After a failed build, the record must keep the inputs of the units that were not built, because
            // one of these inputs has to change before the build can succeed.
            self.record.units.retain(|list, _| Path::new(list).exists());
            self.record.plugins.insert(self.facts.package.clone(), keys.clone());
        }
        self.record.unfinished = match self.end {
            End::CutShort => Some(Unfinished { began: self.compiled.began(), reported: keys.clone() }),
            End::Failed | End::Succeeded => None,
        };
        (keys, certain)
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.end == End::CutShort {
            self.settle();
        }
        if let Err(error) = self.record.write(&self.facts.target_dir) {
            // The record on disk still says that the build is unfinished, so the next build rebuilds more than
            // necessary.
            tracing::warn!("{}: {error}", self.facts.target_dir.display());
        }
    }
}

/// The current contents of all inputs of the recorded units, and of all known inputs of the plugin.
fn contents(record: &Record, facts: &PackageFacts) -> BTreeMap<PathBuf, InputContent> {
    let mut paths: BTreeSet<PathBuf> = record.units.values().flat_map(Unit::all_files).collect();
    // Deleted files are inputs, too.
    let gone =
        record.contents.keys().filter(|path| record.units.values().any(|unit| unit.is_made_from(path)));
    paths.extend(gone.cloned());
    paths.extend(facts.inputs.files.iter().cloned());
    facts.inputs.dirs.iter().for_each(|dir| files_below(dir, Nested::Included, &mut paths));
    paths.retain(|path| path.to_str().is_some());
    paths
        .into_iter()
        .map(|path| {
            let content = InputContent::of(&path, record.contents.get(&path));
            (path, content)
        })
        .collect()
}

async fn lock(target_dir: PathBuf) -> io::Result<fs::File> {
    let locked = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&target_dir)?;
        let file = fs::File::create(target_dir.join("replug-inputs.lock"))?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    });
    locked.await.map_err(io::Error::other)?
}
