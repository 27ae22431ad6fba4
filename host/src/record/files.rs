//! The records in a state folder: `plugins/<id>/record.json`, written as a whole or not at all. The folder of a plugin is
//! locked by the host that keeps its record, for as long as that host has the plugin.

use super::{FORMAT, Record};
use crate::id::{Digest, PluginId};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tempfile::NamedTempFile;

const FILE: &str = "record.json";

/// How often, and after what pauses, a lock is tried for: a child that was just made holds it until it runs its own program.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(5);

/// Why a record is of no use.
#[derive(thiserror::Error)]
enum RecordError {
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    #[error("it is of format {0}, and this version of replug reads format {FORMAT}")]
    OtherFormat(Value),
    #[error("it is of the plugin {0}")]
    OtherPlugin(PluginId),
}

crate::readable::readable!(RecordError);

/// The records in a state folder.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// None where nothing is to be remembered.
    dir: Option<PathBuf>,
}

impl Records {
    /// Those in this folder, which need not be there.
    pub(crate) fn in_dir(dir: PathBuf) -> Self {
        Self { dir: Some(dir) }
    }

    /// Remembers nothing.
    pub(crate) fn nowhere() -> Self {
        Self { dir: None }
    }

    /// The record of a plugin, which is this host's to keep from now on unless another host keeps it.
    pub(crate) fn of(&self, id: &PluginId) -> Kept {
        let Some(dir) = self.dir.as_ref().map(|dir| dir.join(id.as_str())) else {
            return Kept::forgotten(id);
        };
        let lock = match lock(&dir) {
            Ok(Some(lock)) => lock,
            Ok(None) => {
                tracing::warn!(
                    "{id}: another host keeps its record in {}: what this host does with the plugin is forgotten \
                     when it ends",
                    dir.display()
                );
                return Kept::forgotten(id);
            }
            Err(error) => {
                tracing::warn!("{id}: its record cannot be kept in {}: {error}", dir.display());
                return Kept::forgotten(id);
            }
        };
        let record = match read(&dir.join(FILE), id) {
            Ok(record) => record,
            Err(error) => {
                put_aside(&dir, id, &error);
                None
            }
        };
        let written = record.clone();
        let record = record.unwrap_or_else(|| Record::new(id.clone()));
        Kept { record, written, dir: Some(dir), lock: Some(lock) }
    }

    /// The artifacts that the records of all plugins name but those of `known`.
    pub(crate) fn named_but(&self, known: impl Fn(&PluginId) -> bool) -> BTreeSet<Digest> {
        let Some(dir) = &self.dir else { return BTreeSet::new() };
        let folders = fs::read_dir(dir).into_iter().flatten().flatten();
        let ids = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<PluginId>().ok());
        // Whoever starts that plugin says what is wrong with its record.
        let records = ids
            .filter(|id| !known(id))
            .filter_map(|id| read(&dir.join(id.as_str()).join(FILE), &id).ok().flatten());
        records.flat_map(|record| record.names()).collect()
    }
}

/// Locks the folder of a plugin, which is made if it is not there; none if another host has it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    fs::create_dir_all(dir)?;
    let folder = File::open(dir)?;
    for _ in 0..TRIES {
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(folder)),
            Err(rustix::io::Errno::WOULDBLOCK) => thread::sleep(PAUSE),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn read(path: &Path, id: &PluginId) -> Result<Option<Record>, RecordError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let found: Value = serde_json::from_slice(&text)?;
    if found["format"] != FORMAT {
        return Err(RecordError::OtherFormat(found["format"].clone()));
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
        Err(error) => format!("it cannot be put aside: {error}"),
    };
    tracing::warn!(
        "{}: the record of {id} is ignored: {error}; {kept}. Whether the plugin was stopped, which version served and \
         which there were is forgotten",
        file.display()
    );
}

/// The record of a plugin that this host has.
#[derive(Debug)]
pub(crate) struct Kept {
    record: Record,
    /// What is on disk.
    written: Option<Record>,
    /// None where it is not to be written.
    dir: Option<PathBuf>,
    lock: Option<File>,
}

impl std::ops::Deref for Kept {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Kept {
    fn forgotten(id: &PluginId) -> Self {
        Self { record: Record::new(id.clone()), written: None, dir: None, lock: None }
    }

    /// Whether what is on disk of the plugin is this host's.
    pub(crate) fn is_own(&self) -> bool {
        self.dir.is_some()
    }

    /// Changes the record, which [`Kept::save`] then writes.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Record)) {
        change(&mut self.record);
    }

    /// Changes the record and writes it.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Record)) {
        self.note(change);
        self.save();
    }

    /// Writes the record if it has changed. Blocks until it is on disk.
    pub(crate) fn save(&mut self) {
        let Some(dir) = self.dir.clone().filter(|_| self.written.as_ref() != Some(&self.record)) else {
            return;
        };
        // The disk may take its time, and this thread of the runtime has others to serve.
        match tokio::task::block_in_place(|| self.write(&dir)) {
            Ok(()) => self.written = Some(self.record.clone()),
            Err(error) => tracing::error!(
                "{}: the record of {} cannot be written: {error}; the next host will know what was written before",
                dir.join(FILE).display(),
                self.record.id
            ),
        }
    }

    fn write(&mut self, dir: &Path) -> io::Result<()> {
        let is_there = self.lock.as_ref().is_some_and(|lock| is_at(lock, dir));
        if !is_there {
            // Someone has removed the state folder.
            self.lock = lock(dir)?;
            if self.lock.is_none() {
                self.dir = None;
                return Err(io::Error::other("another host has the plugin now"));
            }
        }
        let mut text = serde_json::to_vec_pretty(&self.record)?;
        text.push(b'\n');
        let mut fresh = NamedTempFile::new_in(dir)?;
        fresh.write_all(&text)?;
        fresh.as_file().sync_all()?;
        fresh.persist(dir.join(FILE))?;
        File::open(dir)?.sync_all()
    }
}

/// Whether that is the folder which lies there.
fn is_at(folder: &File, dir: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(open), Ok(there)) = (folder.metadata(), fs::metadata(dir)) else { return false };
    (open.dev(), open.ino()) == (there.dev(), there.ino())
}
