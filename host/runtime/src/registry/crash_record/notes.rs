//! Notes: files that outlive the process, each of which describes the generation that a column belongs to.

use replug_model::id::{Digest, Generation, PluginId};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
};

/// The name of the folder of the notes, in a run folder.
pub(super) const NOTES_NAME: &str = "notes";

/// The maximum length of a note, in bytes. A longer file was not written by this program.
const MAX_NOTE_BYTES: u64 = 1 << 20;

/// A note: the generation that a column belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The plugin.
    pub plugin: PluginId,
    /// The number of the generation.
    pub generation: Generation,
    /// The artifact.
    pub digest: Digest,
    /// The plugin's interfaces, in the order of `export!`; empty before the library is open.
    pub interfaces: Vec<NotedInterface>,
    /// The addresses of the library; `None` before the library is open.
    pub mapped: Option<Range<u64>>,
    /// The artifact and the sources of the library; `None` if a path is not UTF-8.
    pub origin: Option<CodeOrigin>,
}

/// The artifact in which to look up instructions, and the folder of its sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeOrigin {
    /// The artifact's file in the store.
    pub(super) file: String,
    /// The digest of that file.
    pub(super) content: Digest,
    /// The folder of the plugin's sources.
    pub(super) root: String,
}

impl CodeOrigin {
    /// The origin of an artifact: its file in the store, the digest of that file, and the plugin's folder.
    pub fn of(file: &Path, content: Digest, root: &Path) -> Option<Self> {
        let (file, root) = (file.to_str()?.to_owned(), root.to_str()?.to_owned());
        Some(Self { file, content, root })
    }
}

/// An interface with the names of its methods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedInterface {
    /// The trait's name.
    pub name: String,
    /// The names of the methods, in the order of the trait.
    pub methods: Vec<String>,
}

impl Note {
    /// Writes the note as the next line of a file, which is created if it does not exist. The last complete line is
    /// valid, so the previous note stays valid until this one is complete. The line is preceded by a line break,
    /// because an earlier note may have been written only in part, for example on a full disk.
    pub(in crate::registry) fn write(&self, path: &Path) -> io::Result<()> {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, self)?;
        line.push(b'\n');
        File::options().append(true).create(true).open(path)?.write_all(&line)
    }

    fn read(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        if !metadata.is_file() || metadata.len() > MAX_NOTE_BYTES {
            return None;
        }
        let lines = fs::read(path).ok()?;
        let mut complete = lines.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        serde_json::from_slice(complete.rfind(|line| line.len() > 1)?).ok()
    }
}

/// The path of a column's note in a run folder.
pub(super) fn path(run_dir: &Path, column: usize) -> PathBuf {
    run_dir.join(NOTES_NAME).join(format!("{column}.jsonl"))
}

/// The note of the generation that a column belongs to.
pub(super) fn behind(run_dir: &Path, column: u16) -> Option<Note> {
    Note::read(&path(run_dir, column.into()))
}

/// Finds the first of these addresses that is in the library of a plugin, and returns the note of that library.
pub(super) fn at(run_dir: &Path, addresses: &[u64]) -> Option<Note> {
    let notes = fs::read_dir(run_dir.join(NOTES_NAME)).ok()?.flatten();
    let notes: Vec<_> = notes.filter_map(|entry| Note::read(&entry.path())).collect();
    let holds = |note: &&Note, address| note.mapped.as_ref().is_some_and(|mapped| mapped.contains(address));
    addresses.iter().find_map(|address| notes.iter().find(|note| holds(note, address))).cloned()
}
