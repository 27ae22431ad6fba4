//! What the files held from which cargo has built what lies in its target folder, and what follows from that.
//!
//! Cargo takes a unit for fresh if no file of it is newer than the unit. A file that is moved, copied or unpacked with its
//! old time is then never built. So the record says, beside the target folder's contents, what each file held when cargo
//! last used it; before a build, what cargo would take for fresh although a file has other bytes, loses its fingerprint.
//!
//! **What must never be:** a unit that cargo takes for fresh and that is made from anything else than what the record says.

use super::{
    BuildError,
    content::Content,
    facts::Facts,
    fingerprints::Fingerprint,
    units::{Nested, Reported, Unit, files_below, nested_packages},
};
use crate::watch::{self, Inputs};
use cargo_metadata::Message;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const NAME: &str = "replug-inputs.json";

/// The times of cargo's files come from a coarser clock than that of the program.
const TICK: Duration = Duration::from_millis(20);

/// What a target folder was built from. Lies in it, as `replug-inputs.json`.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// A build that has begun and not ended: it was cut short, or runs.
    unfinished: Option<Unfinished>,
    /// By the file in which cargo or rustc lists what each was made from.
    units: BTreeMap<String, Unit>,
    /// What the files held. One that is missing here may have been anything.
    contents: BTreeMap<PathBuf, Content>,
    /// What the last good build of each plugin's package consisted of.
    plugins: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Unfinished {
    began: SystemTime,
    /// The units that it has finished.
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

    /// Adds what those units are made from to `inputs`.
    fn add(&self, units: &BTreeSet<String>, inputs: &mut Inputs) {
        let units: Vec<_> = units.iter().filter_map(|key| self.units.get(key)).collect();
        for unit in &units {
            inputs.files.extend(unit.files.iter().cloned());
            // No one else follows a link to a folder that lies in one of them.
            inputs.dirs.extend(unit.dirs.iter().cloned().chain(unit.linked_dirs()));
        }
        let package_dirs: BTreeSet<_> = units.iter().flat_map(|unit| unit.package_dirs()).collect();
        // Packages within a package do not belong to it, but may be needed as well.
        let nested = package_dirs.iter().flat_map(|dir| nested_packages(dir));
        let nested: Vec<_> = nested.filter(|dir| !inputs.dirs.iter().any(|it| it.starts_with(dir))).collect();
        inputs.except.extend(nested);
        inputs.dirs.extend(package_dirs);
        // A folder of sources that is a link may come to lead elsewhere.
        let folders =
            inputs.files.iter().filter_map(|file| file.parent()).chain(inputs.dirs.iter().map(|it| &**it));
        let folders: BTreeSet<_> = folders.collect();
        let links: Vec<_> = folders.into_iter().flat_map(watch::links_on).collect();
        inputs.files.extend(links);
    }
}

/// Adds what the last good build of the plugin's package was made from, be it one of an earlier host.
pub(super) fn add_known(facts: &Facts, inputs: &mut Inputs) {
    if let Some(record) = Record::read(&facts.target_dir)
        && let Some(units) = record.plugins.get(&facts.package)
    {
        record.add(units, inputs);
    }
}

/// A build by cargo, from before its start until it has ended or was dropped.
pub(super) struct Run<'f> {
    facts: &'f Facts,
    began: SystemTime,
    record: Record,
    /// What the files held when it began.
    before: BTreeMap<PathBuf, Content>,
    reported: Reported,
    end: End,
    /// Keeps other processes from the record, as cargo's own lock keeps them from the target folder.
    _alone: fs::File,
}

/// How a build ended, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It was dropped.
    CutShort,
    Failed,
    Succeeded,
}

impl<'f> Run<'f> {
    /// Has cargo see whatever holds something else than it was built from. Waits while another process builds there.
    pub(super) async fn begin(facts: &'f Facts) -> Result<Self, BuildError> {
        let dir = &facts.target_dir;
        let failed = |source| BuildError::Io {
            path: dir.clone(),
            source,
            remedy: "give this user a folder to build in, with space left",
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
        let is_known = |(path, content): (&PathBuf, &Content)| {
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
        let reported = Reported::new(&facts.workspace_root, dir);
        Ok(Self { facts, began, record, before, reported, end: End::CutShort, _alone: alone })
    }

    /// Takes note of a message of cargo's.
    pub(super) fn hear(&mut self, message: &Message) {
        self.reported.hear(message);
    }

    /// The build has ended. Adds what it was made from to `inputs`, as far as cargo has reported it.
    pub(super) fn end(mut self, end: End, inputs: &mut Inputs) {
        self.end = end;
        let reported = self.settle();
        self.record.add(&reported, inputs);
    }

    /// Notes what the units that are finished were made from, where that is beyond doubt.
    fn settle(&mut self) -> BTreeSet<String> {
        let units = self.reported.units();
        let keys: BTreeSet<String> = units.keys().cloned().collect();
        for path in units.values().flat_map(Unit::all_files) {
            let before = self.before.get(&path);
            let now = Content::of(&path, before);
            if before.map_or_else(|| now.is_older_than(self.began), |before| before.is_same(&now)) {
                self.record.contents.insert(path, now);
            } else {
                // Which of the two was used is not known.
                self.record.contents.remove(&path);
            }
        }
        self.record.units.extend(units);
        if self.end == End::Succeeded {
            // Of what failed, it stays known what has to change.
            self.record.units.retain(|list, _| Path::new(list).exists());
            self.record.plugins.insert(self.facts.package.clone(), keys.clone());
        }
        self.record.unfinished = match self.end {
            End::CutShort => Some(Unfinished { began: self.began, reported: keys.clone() }),
            End::Failed | End::Succeeded => None,
        };
        keys
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.end == End::CutShort {
            self.settle();
        }
        if let Err(error) = self.record.write(&self.facts.target_dir) {
            // What is there says that the build did not end, which makes the next one slower and no less right.
            tracing::warn!("{}: {error}", self.facts.target_dir.display());
        }
    }
}

/// What all files hold that the units were made from, or that the plugin is known to be made from.
fn contents(record: &Record, facts: &Facts) -> BTreeMap<PathBuf, Content> {
    let mut paths: BTreeSet<PathBuf> = record.units.values().flat_map(Unit::all_files).collect();
    // A file that is gone counts too.
    let gone =
        record.contents.keys().filter(|path| record.units.values().any(|unit| unit.is_made_from(path)));
    paths.extend(gone.cloned());
    paths.extend(facts.inputs.files.iter().cloned());
    facts.inputs.dirs.iter().for_each(|dir| files_below(dir, Nested::Included, &mut paths));
    paths.retain(|path| path.to_str().is_some());
    paths
        .into_iter()
        .map(|path| {
            let content = Content::of(&path, record.contents.get(&path));
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
