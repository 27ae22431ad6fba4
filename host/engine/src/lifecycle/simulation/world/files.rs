//! The simulated files of a plugin. A user edits some of them, and builds may write their own inputs.

use super::Dice;
use crate::{
    build::{Moment, OwnWrites},
    lifecycle::{Contents, ManifestFile, Observation},
    watch::{Change, Content, What},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

/// A file that no build script writes.
const LIB: &str = "/plugin/src/lib.rs";
/// A file that only a user writes. The host assumes that the build script may write it, too.
const INPUT: &str = "/plugin/gen/input.proto";
/// A file that only the build script writes.
const STAMP: &str = "/plugin/gen/stamp.rs";
/// A file that only a procedural macro writes.
const MACRO: &str = "/plugin/src/out.rs";
const MANIFEST: &str = "/plugin/plugin.toml";

/// Which of its own inputs each build writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Habit {
    Nothing,
    /// [`STAMP`] twice: first with different content, then with its previous content.
    Same,
    /// [`STAMP`], with different content in each build.
    Stamp,
    /// A new file, with a different name in each build.
    NewFile,
    /// [`MACRO`], with different content in each build.
    Macro,
    /// The manifest, with different content in each build.
    Manifest,
}

/// The contents of the user's files.
type Texts = [u64; 2];

/// The simulated files.
pub(super) struct Files {
    habit: Habit,
    /// Whether the plugin's package has a build script.
    has_script: bool,
    contents: BTreeMap<PathBuf, u64>,
    times: BTreeMap<PathBuf, SystemTime>,
    /// The number of contents that [`Files::fresh`] has made, over all files. Each content is a number.
    texts: u64,
    /// All contents that the two files of the user have had together. Each pair is a source; its index is its number.
    sources: Vec<Texts>,
    /// Whether the build script is running.
    script_runs: bool,
    /// When the build script last ended.
    script_ended: Option<SystemTime>,
    /// The content of the manifest that was read last.
    manifest_read: u64,
    /// The last content of the manifest that cannot be read.
    unreadable: Option<u64>,
    /// Whether the worker has observed a change of the manifest that was made since the last compilation began.
    manifest_is_observed: bool,
    /// The contents of the user's files that the running or the last compilation has read.
    read: Texts,
    /// For each of the user's files, the number of compilations during which it was saved.
    saved_during: [u32; 2],
    /// Whether each of the user's files was saved since the last compilation began.
    is_saved: [bool; 2],
}

impl Files {
    pub(super) fn new(dice: &mut Dice) -> Self {
        let habit = match dice.below(12) {
            0 => Habit::Same,
            1 => Habit::Stamp,
            2 => Habit::NewFile,
            3 => Habit::Macro,
            4 => Habit::Manifest,
            _ => Habit::Nothing,
        };
        let files = [LIB, INPUT, STAMP, MACRO, MANIFEST].map(|path| (PathBuf::from(path), 0));
        let times = files.iter().map(|(path, _)| (path.clone(), SystemTime::UNIX_EPOCH)).collect();
        Self {
            habit,
            has_script: dice.chance(2, 3),
            contents: files.into(),
            times,
            texts: 0,
            sources: vec![[0, 0]],
            script_runs: false,
            script_ended: None,
            manifest_read: 0,
            unreadable: None,
            manifest_is_observed: false,
            read: [0, 0],
            saved_during: [0, 0],
            is_saved: [false, false],
        }
    }

    fn text(&self, path: &str) -> u64 {
        self.contents[Path::new(path)]
    }

    fn texts(&self) -> Texts {
        [self.text(LIB), self.text(INPUT)]
    }

    fn number_of(&mut self, texts: Texts) -> u8 {
        let known = self.sources.iter().position(|it| *it == texts);
        let number = known.unwrap_or_else(|| {
            self.sources.push(texts);
            self.sources.len() - 1
        });
        u8::try_from(number).expect("a history has few sources")
    }

    /// The number of the current source.
    pub(super) fn source(&mut self) -> u8 {
        self.number_of(self.texts())
    }

    /// The number of the source that the last compilation has read.
    pub(super) fn read_source(&mut self) -> u8 {
        self.number_of(self.read)
    }

    /// A content that no file has had before.
    fn fresh(&mut self) -> u64 {
        self.texts += 1;
        self.texts
    }

    fn write(&mut self, (path, text): (&str, u64), now: SystemTime) -> Change {
        let path = PathBuf::from(path);
        let before = self.contents.insert(path.clone(), text).map_or(Content::Gone, Content::Hash);
        self.times.insert(path.clone(), now);
        let what = if path == Path::new(MANIFEST) { What::Manifest } else { What::Source };
        Change { plugin: super::plugin(), path, saved_at: now, what, before: Some(before) }
    }

    /// A user saves a file. `text` determines the content: new, that of an earlier source, or unchanged.
    pub(super) fn save(&mut self, is_lib: bool, text: Text, now: SystemTime) -> Change {
        let path = if is_lib { LIB } else { INPUT };
        self.is_saved[usize::from(!is_lib)] = true;
        let text = match text {
            Text::New => self.fresh(),
            Text::Earlier => self.sources[self.sources.len() / 2][usize::from(!is_lib)],
            Text::Same => self.text(path),
        };
        self.write((path, text), now)
    }

    /// A user saves the manifest.
    pub(super) fn save_manifest(&mut self, text: ManifestText, now: SystemTime) -> Change {
        let text = match text {
            ManifestText::New => self.fresh(),
            ManifestText::AsRead => self.manifest_read,
            ManifestText::Unreadable => {
                let text = self.fresh();
                self.unreadable = Some(text);
                text
            }
        };
        self.write((MANIFEST, text), now)
    }

    pub(super) fn manifest_is_read(&mut self) {
        self.manifest_read = self.text(MANIFEST);
    }

    /// The worker has observed a change during the compilation that began at this time.
    pub(super) fn is_observed(&mut self, seen: &Observation, began: Option<SystemTime>) {
        self.manifest_is_observed |= seen.change.what == What::Manifest && seen.changed >= began;
    }

    /// Whether the worker has observed a change of the manifest that was made since the last compilation began.
    pub(super) fn manifest_is_observed(&self) -> bool {
        self.manifest_is_observed
    }

    /// The manifest's file, compared with the manifest that was read last.
    pub(super) fn manifest(&self) -> ManifestFile {
        match self.text(MANIFEST) {
            text if self.unreadable == Some(text) => ManifestFile::Unreadable,
            text if text == self.manifest_read => ManifestFile::AsRead,
            _ => ManifestFile::Edited,
        }
    }

    /// A compilation begins, and may read the source immediately.
    pub(super) fn compile_begins(&mut self) {
        (self.script_runs, self.manifest_is_observed) = (self.has_script, false);
        (self.read, self.is_saved) = (self.texts(), [false, false]);
    }

    /// The build script ends, and the compiler then reads the files that the script may write. Returns the changes that
    /// the build has made.
    pub(super) fn script_ends(&mut self, now: SystemTime) -> Vec<Change> {
        let changes = self.own_writes(now);
        if self.has_script {
            (self.script_runs, self.script_ended) = (false, Some(now));
            self.read[1] = self.text(INPUT);
        }
        changes
    }

    fn own_writes(&mut self, now: SystemTime) -> Vec<Change> {
        let (fresh, stamp) = (self.fresh(), self.text(STAMP));
        let new = format!("/plugin/gen/{fresh}.rs");
        match self.habit {
            Habit::Macro => vec![self.write((MACRO, fresh), now)],
            _ if !self.has_script => Vec::new(),
            Habit::Nothing => Vec::new(),
            Habit::Same => vec![self.write((STAMP, fresh), now), self.write((STAMP, stamp), now)],
            Habit::Stamp => vec![self.write((STAMP, fresh), now)],
            Habit::NewFile => vec![self.write((&new, fresh), now)],
            Habit::Manifest => vec![self.write((MANIFEST, fresh), now)],
        }
    }

    /// The compiler reads the file that no build script writes.
    pub(super) fn lib_is_read(&mut self) {
        self.read[0] = self.text(LIB);
    }

    /// The compilation ends, or is cancelled.
    pub(super) fn compile_ends(&mut self) {
        self.script_runs = false;
        for (count, is_saved) in self.saved_during.iter_mut().zip(self.is_saved) {
            *count += u32::from(is_saved);
        }
    }

    /// Whether a warning that builds write these files is justified. Builds do not write the two files of the user, so
    /// each of them may be among these files only if the user has saved it during a compilation.
    pub(super) fn seem_unstable(&self, paths: &[PathBuf]) -> bool {
        let may_be = |(path, count): (&str, u32)| !paths.contains(&path.into()) || count >= 1;
        [LIB, INPUT].into_iter().zip(self.saved_during).all(may_be)
    }

    /// The user's files whose content differs from the content that the last compilation has read.
    pub(super) fn unread(&self) -> impl Iterator<Item = &'static Path> {
        let (now, read) = (self.texts(), self.read);
        let differs = move |at: &usize| now[*at] != read[*at];
        [0, 1].into_iter().filter(differs).map(|at| Path::new([LIB, INPUT][at]))
    }

    fn own(&self, path: &Path, moment: Moment) -> OwnWrites {
        let is_in_package = path.starts_with("/plugin/gen") || path == Path::new(MANIFEST);
        match (self.has_script, is_in_package, self.script_runs) {
            (false, ..) => OwnWrites::None,
            (true, true, true) => OwnWrites::Possible,
            (true, true, false) => self.script_ended.map_or(OwnWrites::None, OwnWrites::Until),
            (true, false, true) if moment == Moment::During => OwnWrites::Unordered,
            (true, false, _) => OwnWrites::None,
        }
    }

    /// Observes a changed file.
    pub(super) fn see(&self, change: &Change, (moment, now): (Moment, SystemTime)) -> Observation {
        let own = self.own(&change.path, moment);
        let changed = self.times.get(&change.path).copied();
        Observation {
            own,
            content: (own != OwnWrites::None).then(|| self.content(&change.path)),
            changed,
            changed_or_moved: changed,
            at: now,
            change: change.clone(),
        }
    }

    fn content(&self, path: &Path) -> Content {
        self.contents.get(path).map_or(Content::Gone, |text| Content::Hash(*text))
    }

    /// The contents of these files.
    pub(super) fn contents<'p>(&self, paths: impl Iterator<Item = &'p PathBuf>) -> Contents {
        paths.map(|path| (path.clone(), self.content(path))).collect()
    }
}

/// The content of a saved file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    New,
    Earlier,
    Same,
}

/// The content of a saved manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ManifestText {
    New,
    /// The content that was read last.
    AsRead,
    Unreadable,
}

/// The time of the simulated wall clock when the simulation has run for `since`.
pub(super) fn wall(since: Duration) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000) + since
}
