//! The records in a state folder: `plugins/<id>/record.json`, written completely or not at all. The file `host` beside
//! it names the run folder of the host that owns the record. When that host has ended, another host can claim the
//! record.

use super::{Accepted, FORMAT, Record};
use crate::{
    atomic_file::{self, Durability},
    id::{Digest, PluginId},
};
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::{
    cmp::Reverse,
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

const FILE: &str = "record.json";
const HOST: &str = "host";

/// Why a record cannot be used.
#[derive(thiserror::Error)]
enum RecordError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("it has format {0}, and this version of replug reads format {FORMAT}")]
    OtherFormat(Value),
    #[error("it belongs to the plugin {0}")]
    OtherPlugin(PluginId),
}

crate::readable::readable!(RecordError);

/// The records in a state folder.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// `None` if no records are kept.
    dir: Option<PathBuf>,
    /// The run folder of this host.
    run: PathBuf,
    /// Whether the host of a run folder still runs.
    host_lives: fn(&Path) -> bool,
    /// The plugins of this host whose record another host owns, or whose record cannot be claimed.
    not_own: Arc<Mutex<BTreeSet<PluginId>>>,
}

impl Records {
    /// The records in `dir`, which need not exist, for the host with the run folder `run`.
    pub(crate) fn in_dir(dir: PathBuf, run: &Path, host_lives: fn(&Path) -> bool) -> Self {
        Self { dir: Some(dir), run: run.to_owned(), host_lives, not_own: Arc::default() }
    }

    /// Records that are kept only in memory.
    pub(crate) fn nowhere() -> Self {
        Self { dir: None, run: PathBuf::new(), host_lives: |_| false, not_own: Arc::default() }
    }

    /// Claims and reads the record of a plugin. If another host owns the record, or it cannot be claimed, returns an
    /// empty record that is kept only in memory.
    pub(crate) fn of(&self, id: &PluginId) -> Kept {
        let forgotten =
            Kept { record: Record::new(id.clone()), written: None, dir: None, records: self.clone() };
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join(id.as_str())) else { return forgotten };
        let claimed = self.claim(&dir);
        self.is_own(id, matches!(claimed, Ok(true)));
        match claimed {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(
                    "{id}: another host keeps its record in {}: changes that this host makes to the plugin are lost when \
                     it ends",
                    dir.display()
                );
                return forgotten;
            }
            Err(error) => {
                tracing::warn!("{id}: its record cannot be kept in {}: {error}", dir.display());
                return forgotten;
            }
        }
        let written = read(&dir.join(FILE), id).unwrap_or_else(|error| {
            put_aside(&dir, id, &error);
            None
        });
        let record = written.clone().unwrap_or(forgotten.record);
        Kept { record, written, dir: Some(dir), records: self.clone() }
    }

    /// Stores whether this host owns the record of a plugin.
    fn is_own(&self, id: &PluginId, is_own: bool) {
        let mut not_own = self.not_own.lock();
        match is_own {
            true => not_own.remove(id),
            false => not_own.insert(id.clone()),
        };
    }

    /// Claims the folder of a plugin's record for this host. Returns `false` if another running host owns it.
    fn claim(&self, dir: &Path) -> io::Result<bool> {
        fs::create_dir_all(dir)?;
        // No other host may check the folder between this host's check and its claim.
        let alone = File::open(dir.parent().unwrap_or(dir))?;
        flock(&alone, FlockOperation::LockExclusive)?;
        if self.is_claimed(dir) {
            return Ok(true);
        }
        let host = fs::read_to_string(dir.join(HOST)).ok();
        // A user may have changed the file, so it may contain anything, such as a path to another folder.
        let run = host.filter(|name| Path::new(name).file_name().is_some_and(|it| it == name.as_str()));
        if run.is_some_and(|name| (self.host_lives)(&self.run.with_file_name(name))) {
            return Ok(false);
        }
        fs::write(dir.join(HOST), self.name().as_encoded_bytes())?;
        Ok(true)
    }

    /// Whether this host owns the folder of a record.
    fn is_claimed(&self, dir: &Path) -> bool {
        fs::read(dir.join(HOST)).is_ok_and(|name| name == self.name().as_encoded_bytes())
    }

    /// The name of the run folder of this host.
    fn name(&self) -> &OsStr {
        self.run.file_name().unwrap_or_default()
    }

    /// The artifacts in the records of all plugins, except plugins that are `known` and whose record this host owns.
    /// `None` if a record has a different format, because it is unknown which artifacts such a record names.
    pub(crate) fn named_but(&self, known: impl Fn(&PluginId) -> bool) -> Option<BTreeSet<Digest>> {
        let not_own = self.not_own.lock().clone();
        let mut named = BTreeSet::new();
        for (_, record) in self.all_but(|id| known(id) && !not_own.contains(id)) {
            match record {
                Ok(record) => named.extend(record.names()),
                Err(RecordError::OtherFormat(_)) => return None,
                // No version of replug can use a damaged record.
                Err(_) => {}
            }
        }
        Some(named)
    }

    /// The last accepted manifests in the folder `root`, whose path has to be resolved, with the plugins' ids. A folder
    /// may have contained several plugins; the most recently recorded plugin comes first.
    pub(crate) fn accepted_in(&self, root: &Path) -> Vec<(PluginId, Accepted)> {
        let mut found: Vec<_> = self
            .all_but(|_| false)
            .filter_map(|(file, record)| {
                let Record { id, manifest, .. } = record.ok()?;
                let accepted = manifest.filter(|accepted| accepted.file.parent() == Some(root))?;
                Some((fs::metadata(file).and_then(|it| it.modified()).ok(), id, accepted))
            })
            .collect();
        found.sort_by_key(|(written, ..)| Reverse(*written));
        found.into_iter().map(|(_, id, accepted)| (id, accepted)).collect()
    }

    /// The records of all plugins that are not `known`, each with its file. A damaged record is reported at the start
    /// of its plugin.
    fn all_but(
        &self,
        known: impl Fn(&PluginId) -> bool,
    ) -> impl Iterator<Item = (PathBuf, Result<Record, RecordError>)> {
        let folders = self.dir.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
        folders.filter_map(move |folder| {
            let id = folder.file_name().to_str()?.parse::<PluginId>().ok().filter(|id| !known(id))?;
            let file = folder.path().join(FILE);
            let record = read(&file, &id).transpose()?;
            Some((file, record))
        })
    }
}

fn read(path: &Path, id: &PluginId) -> Result<Option<Record>, RecordError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let found: Value = serde_json::from_slice(&text)?;
    if let Some(format) = found.get("format").filter(|format| **format != FORMAT) {
        return Err(RecordError::OtherFormat(format.clone()));
    }
    let record: Record = serde_json::from_value(found)?;
    if record.id != *id {
        return Err(RecordError::OtherPlugin(record.id));
    }
    Ok(Some(record))
}

fn put_aside(dir: &Path, id: &PluginId, error: &RecordError) {
    let (file, aside) = (dir.join(FILE), dir.join("record.refused.json"));
    let kept = match fs::rename(&file, &aside) {
        Ok(()) => format!("it is kept as {}", aside.display()),
        Err(error) => format!("it cannot be renamed: {error}"),
    };
    tracing::warn!(
        "{}: the record of {id} is ignored: {error}; {kept}; the host no longer knows whether the plugin was stopped, \
         which version served and to which versions it can be rolled back",
        file.display()
    );
}

/// The record of a plugin of this host.
#[derive(Debug)]
pub(crate) struct Kept {
    record: Record,
    /// The record as it is on disk.
    written: Option<Record>,
    /// The folder of the record. `None` if the record is kept only in memory.
    dir: Option<PathBuf>,
    records: Records,
}

impl std::ops::Deref for Kept {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Kept {
    /// Whether this host owns the record, and writes it to disk.
    pub(crate) fn is_own(&self) -> bool {
        self.dir.is_some()
    }

    /// Changes the record in memory. [`Kept::save`] writes it.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
    }

    /// Changes the record and writes it.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Record)) {
        self.note(change);
        self.save();
    }

    /// Writes the record if it has changed. Blocks until the record is on disk. An error is logged.
    pub(crate) fn save(&mut self) {
        let Some(dir) = self.dir.clone().filter(|_| self.written.as_ref() != Some(&self.record)) else {
            return;
        };
        // The disk may be slow, and the other tasks on this thread of the runtime must not wait for the write.
        match tokio::task::block_in_place(|| self.write(&dir)) {
            Ok(()) => self.written = Some(self.record.clone()),
            Err(error) => tracing::error!(
                "{}: the record of {} cannot be written: {error}; the next host will use the previous record",
                dir.join(FILE).display(),
                self.record.id
            ),
        }
    }

    fn write(&mut self, dir: &Path) -> io::Result<()> {
        // If the state folder was removed, another host may have claimed the record since.
        if !self.records.is_claimed(dir) && !self.records.claim(dir)? {
            self.dir = None;
            self.records.is_own(&self.record.id, false);
            return Err(io::Error::other("another host keeps the plugin's record now"));
        }
        let mut text = serde_json::to_vec_pretty(&self.record)?;
        text.push(b'\n');
        atomic_file::replace(&dir.join(FILE), &text, Durability::PowerCut)
    }
}
