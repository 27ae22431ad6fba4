//! Changes to files while a build runs, by a user or by the build itself.
//!
//! A build that writes to its own inputs must not supersede itself endlessly, and no edit may be missed. The host
//! cannot always determine whether a user or the build has written a file. It decides by the possible writers
//! ([`OwnWrites`]), by the file's content, and by counts:
//!
//! * A change while no build runs is an edit. It is always built.
//! * If no known step of the build writes the file, a change during a build counts as an edit, and supersedes the
//!   build. But a procedural macro can write any file, and could so supersede every build. Therefore this happens at
//!   most [`Overlap::EDITS`] times in a row for one folder.
//! * If the build script of the file's own package may have written the file, and the file has the same content as at
//!   the beginning of the build, the change does not count: the compiler reads the file after the script has ended.
//! * If the content differs, the build is superseded, but at most [`Overlap::CUTS`] times in a row for one folder.
//!   After that, changes in this folder are held until the end of the build.
//! * If the content at the end of the build differs from the content at its beginning, one more build follows, but at
//!   most [`Overlap::REPEATS`] times in a row for one file. All new files in a folder count as one file.
//! * After that, the file is suspected: either every build writes it, or a user has saved it during each of these
//!   builds. One more build follows when the file has not changed for [`Overlap::QUIET`]. If this build leaves the file
//!   unchanged, a user has made the earlier changes, and this build has read the last of them. Otherwise the file
//!   counts as unstable: every build writes it. Changes of an unstable file during builds cause no further build, until
//!   a build leaves the file unchanged.
//!
//! The last rule fails if a user also saves the file during that last build: the file then counts as unstable, and the
//! edit is not built. No rule can avoid this without building endlessly. However many builds a rule allows, a user can
//! save the file during each of them.

use crate::{
    build::OwnWrites,
    watch::{CLOCK_GRAIN, Change, Content},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

/// The contents of files.
pub(crate) type Contents = BTreeMap<PathBuf, Content>;

/// What the worker has observed about a changed file.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    pub(crate) change: Change,
    /// Whether the build may have written the file.
    pub(crate) own: OwnWrites,
    /// The content of the file. `None` if it is not needed: no build runs, and no known step of the build writes the
    /// file.
    pub(crate) content: Option<Content>,
    /// The time of the last change of the file. `None` if this time cannot be compared with the host's clock.
    pub(crate) changed: Option<SystemTime>,
    /// The latest of these times: the last change of the file, and of each folder above it. A move of a folder does not
    /// change the times of the files in it. `None` if one of these times cannot be compared with the host's clock.
    pub(crate) changed_or_moved: Option<SystemTime>,
    /// The time of the observation.
    pub(crate) at: SystemTime,
}

impl Observation {
    /// Whether the file and all its parent folders were last changed before `began`.
    fn is_older_than(&self, began: Option<SystemTime>) -> bool {
        // If the clock was set back since then, the times prove nothing.
        let Some(began) = began.filter(|began| *began <= self.at) else { return false };
        self.changed_or_moved.is_some_and(|changed| changed + CLOCK_GRAIN < began)
    }

    /// Whether the file has changed after `time`. Returns `true` if the times cannot be compared.
    fn is_later_than(&self, time: SystemTime) -> bool {
        time > self.at || self.changed.is_none_or(|changed| changed > time)
    }
}

/// The changes during the last build, and the number of builds that such changes have caused.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    began: Option<SystemTime>,
    /// When the last build ended. `None` while a build runs, and after a superseded build.
    ended: Option<SystemTime>,
    /// The first change of each file since the build began. Its `before` is the content when the build began.
    held: BTreeMap<PathBuf, Change>,
    /// The files that the compiler may have read between two changes. They count as changed even if they have their
    /// original content again when the build ends.
    doubtful: BTreeSet<PathBuf>,
    /// For each folder, the number of builds in a row that changes in the folder have superseded. A change that is
    /// certainly an edit resets all numbers. A build that leaves the folder unchanged resets the folder's number.
    cuts: BTreeMap<PathBuf, u32>,
    /// For each [source](Self::source), the number of additional builds in a row that it has caused. A change that is
    /// certainly an edit resets all numbers. A build that leaves the source unchanged resets the source's number.
    repeats: BTreeMap<PathBuf, u32>,
    /// What is known about the [sources](Self::source) that have changed during too many builds in a row.
    unstable: BTreeMap<PathBuf, Doubt>,
    /// When to check the suspected files, and the change of one of them.
    check: Option<(Instant, Change)>,
}

/// What is known about a [source](Overlap::source) that has changed during too many builds in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// Either a user or each of these builds has written the source.
    Suspected,
    /// The next build shows whether builds write the source.
    Checked,
    /// Every build writes the source, and the host has reported this: the source is unstable.
    Proven,
}

/// The effect of a change on the running build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgment {
    /// The file is older than the build, so the build reads its current content.
    Included,
    /// Whether the change counts is decided when the build has ended.
    Held,
    /// The change was an edit: the build is superseded.
    Supersedes,
    /// The change counts as an edit, unless the file has its previous content again after [`CLOCK_GRAIN`].
    SupersedesIfItLasts,
}

/// What follows from changes that were held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// No action: the build has read the current content.
    Nothing,
    /// Build once more, because of this change.
    Repeat(Change),
    /// No action until [`Overlap::check`] is due: files have changed during too many builds in a row.
    Suspected,
    /// No build, but a warning: every build writes these files with different content.
    Unstable(Vec<PathBuf>),
}

impl Overlap {
    /// The maximum number of consecutive builds that are superseded by changes in one folder, of files that no known
    /// step of the build writes.
    const EDITS: u32 = 4;
    /// The maximum number of consecutive builds that are superseded by changes in one folder, of files that a build
    /// script may write.
    const CUTS: u32 = 2;
    /// The maximum number of consecutive builds that are repeated because of a file that the build may have written.
    const REPEATS: u32 = 2;
    /// How long to wait after a build until suspected files are checked. If a user keeps saving a file, or an editor
    /// saves it automatically, the next save comes within this time. That save is an edit, because no build runs.
    const QUIET: Duration = Duration::from_secs(5);

    /// Records that a build has begun.
    pub(super) fn build_begins(&mut self, now: SystemTime) {
        if self.ended.is_some() {
            // A file that is not held did not change during the last build. So not every build writes the file, and
            // its earlier changes were edits.
            let sources: BTreeSet<_> = self.held.values().map(Self::source).collect();
            self.repeats.retain(|path, _| sources.contains(&**path));
            self.unstable.retain(|path, _| sources.contains(&**path));
            let folders: BTreeSet<_> = self.held.keys().map(|path| folder(path)).collect();
            self.cuts.retain(|path, _| folders.contains(&**path));
        }
        (self.began, self.ended, self.check) = (Some(now), None, None);
        self.held.clear();
        self.doubtful.clear();
    }

    /// When the last build began.
    pub(super) fn began(&self) -> Option<SystemTime> {
        self.began
    }

    /// Classifies a change that is reported while the build runs.
    pub(super) fn judge(&mut self, seen: &Observation) -> Judgment {
        if seen.is_older_than(self.began) {
            return Judgment::Included;
        }
        let (change, path) = (&seen.change, &seen.change.path);
        self.hold(seen);
        let cuts = self.cuts.get(folder(path)).copied().unwrap_or_default();
        match seen.own {
            OwnWrites::Until(ended) if !seen.is_later_than(ended) => Judgment::Held,
            OwnWrites::None | OwnWrites::Until(_) if cuts < Self::EDITS => self.cuts(change),
            OwnWrites::None | OwnWrites::Until(_) => {
                self.doubtful.insert(path.clone());
                Judgment::Held
            }
            OwnWrites::Possible | OwnWrites::Unordered => {
                let may_cut = cuts < Self::CUTS && !self.unstable.contains_key(Self::source(change));
                match may_cut && !self.is_as_before(seen) {
                    true => Judgment::SupersedesIfItLasts,
                    false => Judgment::Held,
                }
            }
        }
    }

    /// Classifies a change whose first judgment was [`Judgment::SupersedesIfItLasts`], after [`CLOCK_GRAIN`].
    pub(super) fn judge_again(&mut self, seen: &Observation) -> Judgment {
        if self.is_as_before(seen) { Judgment::Held } else { self.cuts(&seen.change) }
    }

    /// Stores a change until the end of the build. Of several changes of a file, the first is stored.
    fn hold(&mut self, seen: &Observation) {
        let path = &seen.change.path;
        self.held.entry(path.clone()).or_insert_with(|| seen.change.clone());
        if seen.own == OwnWrites::Unordered {
            self.doubtful.insert(path.clone());
        }
    }

    /// The path under which a change is counted: the file, or its folder if the file may be new. A build may write a
    /// file with a different name each time, so all new files in a folder count as one file.
    fn source(change: &Change) -> &Path {
        match change.before {
            None | Some(Content::Gone) => folder(&change.path),
            Some(_) => &change.path,
        }
    }

    /// Counts a change that supersedes the build.
    pub(super) fn cuts(&mut self, change: &Change) -> Judgment {
        *self.cuts.entry(folder(&change.path).to_owned()).or_default() += 1;
        Judgment::Supersedes
    }

    /// The files that have changed during the build.
    pub(super) fn held(&self) -> impl Iterator<Item = &PathBuf> {
        self.held.keys()
    }

    /// Whether the file has changed during the build and has different content now than when the build began.
    pub(super) fn has_changed(&self, path: &Path, contents: &Contents) -> bool {
        self.held.get(path).is_some_and(|held| held.before != contents.get(path).copied())
    }

    /// Whether every build writes the file with different content, or is suspected of it.
    pub(super) fn is_unstable(&self, path: &Path) -> bool {
        self.unstable.contains_key(path)
    }

    /// When to check the suspected files with [`Overlap::check`], if there are any.
    pub(super) fn check_due(&self) -> Option<Instant> {
        self.check.as_ref().map(|(due, _)| *due)
    }

    /// Begins the check of the suspected files. Returns a change, for which [`Overlap::judge_late`] will request a
    /// build.
    pub(super) fn check(&mut self) -> Option<Change> {
        let (_, change) = self.check.take()?;
        self.unstable
            .values_mut()
            .filter(|doubt| **doubt == Doubt::Suspected)
            .for_each(|doubt| *doubt = Doubt::Checked);
        Some(change)
    }

    /// Whether the file changed during the build, and then had the same content as when the build began.
    fn is_as_before(&self, seen: &Observation) -> bool {
        let before = self.held.get(&seen.change.path).and_then(|held| held.before);
        before.is_some() && before == seen.content
    }

    /// Records that the build has ended without being superseded, at the time `at`. `contents`: the contents of the
    /// [held](Self::held) files after that. Returns what the held changes require.
    pub(super) fn build_ends(&mut self, now: Instant, at: SystemTime, contents: &Contents) -> Settled {
        self.ended = Some(at);
        let matters = |path: &&PathBuf| self.doubtful.contains(*path) || self.has_changed(path, contents);
        let changed = self.held.keys().filter(matters).cloned().collect();
        self.settle(now, changed)
    }

    /// Classifies a change that is reported while no build runs. The change may have been made during the last build.
    pub(super) fn judge_late(&mut self, now: Instant, seen: &Observation) -> Settled {
        let change = &seen.change;
        let Some(ended) = self.ended else { return self.repeat(change) };
        if seen.is_older_than(self.began) {
            return Settled::Nothing;
        }
        if seen.is_later_than(ended) {
            return self.repeat(change);
        }
        if self.unstable.get(Self::source(change)) == Some(&Doubt::Checked) {
            return Settled::Repeat(change.clone());
        }
        self.hold(seen);
        let is_read_later = match seen.own {
            OwnWrites::Until(last) => !seen.is_later_than(last),
            OwnWrites::Possible => true,
            OwnWrites::None | OwnWrites::Unordered => false,
        };
        if is_read_later && self.is_as_before(seen) {
            return Settled::Nothing;
        }
        self.settle(now, vec![change.path.clone()])
    }

    /// Decides what follows from these changed files, and counts the builds that they cause.
    fn settle(&mut self, now: Instant, changed: Vec<PathBuf>) -> Settled {
        let changed: BTreeMap<_, _> = changed
            .iter()
            .filter_map(|path| self.held.get(path))
            .map(|change| (Self::source(change).to_owned(), change.clone()))
            .collect();
        let (mut repeated, mut suspected, mut news) = (None, None, Vec::new());
        for (source, change) in changed {
            let repeats = self.repeats.entry(source.clone()).or_default();
            match self.unstable.get(&source) {
                None if *repeats < Self::REPEATS => {
                    *repeats += 1;
                    repeated.get_or_insert(change);
                }
                None => {
                    self.unstable.insert(source, Doubt::Suspected);
                    suspected = Some(change);
                }
                Some(Doubt::Suspected) => suspected = Some(change),
                Some(Doubt::Checked) => {
                    self.unstable.insert(source, Doubt::Proven);
                    news.push(change.path);
                }
                Some(Doubt::Proven) => {}
            }
        }
        let is_suspected = suspected.is_some();
        if let Some(change) = suspected {
            self.check = Some((now + Self::QUIET, change));
        }
        match repeated {
            Some(change) => Settled::Repeat(change),
            None if !news.is_empty() => Settled::Unstable(news),
            None if is_suspected => Settled::Suspected,
            None => Settled::Nothing,
        }
    }

    /// Resets the counts, because a user has edited a file.
    pub(super) fn edited(&mut self) {
        self.cuts.clear();
        self.repeats.clear();
        self.unstable.retain(|_, doubt| *doubt == Doubt::Proven);
        self.check = None;
    }

    /// Requires one more build, because a user has made the change.
    fn repeat(&mut self, change: &Change) -> Settled {
        self.edited();
        Settled::Repeat(change.clone())
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests;
