//! Changes that are made while a build runs: by someone who edits, or by the build itself.
//!
//! A build that writes below its own inputs must not cut itself short for ever, and no edit may be missed. Who has
//! written a file cannot be known for sure, so what it holds decides, and a count:
//!
//! * What nothing of the build writes was edited: the build is superseded.
//! * What the build script of its own package may write, and holds what it held when the build began, is no change: the
//!   compiler reads it after the script has ended.
//! * If it holds something else, the build is superseded, but not more often than [`Overlap::CUTS`] times in a row for one
//!   folder: from then on such changes wait for the end of the build.
//! * What holds something else at the end than at the beginning is built once more, but not more often than
//!   [`Overlap::REPEATS`] times in a row for one file: then the build itself writes it, each time something else.

use crate::{
    build::OwnWrites,
    watch::{CLOCK_GRAIN, Change, Content, changed_at},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What the changes that overlap builds come to.
#[derive(Debug, Default)]
pub(super) struct Overlap {
    began: Option<SystemTime>,
    /// When the last build ended by itself.
    ended: Option<SystemTime>,
    /// The first change of each file since the build began; it holds what the file held then.
    held: BTreeMap<PathBuf, Change>,
    /// Those that may have been read while they held something else, whatever they hold at the end.
    doubtful: BTreeSet<PathBuf>,
    /// How often changes in each folder have cut a build short since the last edit outside of builds.
    cuts: BTreeMap<PathBuf, u32>,
    /// How often each file was the cause of one more build since then.
    repeats: BTreeMap<PathBuf, u32>,
    /// The files that every build writes with other content. That was reported.
    unstable: BTreeSet<PathBuf>,
}

/// What a change means for the build that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The build reads what the file holds now.
    Included,
    /// Whether it matters is known when the build has ended.
    Held,
    /// It was an edit.
    Supersedes,
    /// It was an edit, unless the file holds in a moment what it held before.
    SupersedesIfItLasts,
}

/// What is to be done about changes that were held.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// The build has read what there is.
    Nothing,
    /// Build once more, for this change.
    Repeat(Change),
    /// Nothing: these files are written by every build, each time with other content.
    Unstable(Vec<PathBuf>),
}

impl Overlap {
    /// How often changes in a folder that a build script may write to cut builds short, in a row.
    const CUTS: u32 = 2;
    /// How often a file that a build may have written itself causes one more build, in a row.
    const REPEATS: u32 = 2;

    pub(super) fn build_begins(&mut self, now: SystemTime) {
        if self.ended.is_some() {
            // What the last build has left as it was is not written by every build: someone has edited it.
            self.repeats.retain(|path, _| self.held.contains_key(path));
            self.unstable.retain(|path| self.held.contains_key(path));
        }
        (self.began, self.ended) = (Some(now), None);
        self.held.clear();
        self.doubtful.clear();
    }

    /// When the last build began.
    pub(super) fn began(&self) -> Option<SystemTime> {
        self.began
    }

    /// Takes in a change while the build runs.
    pub(super) fn judge(&mut self, change: &Change, own: OwnWrites) -> Verdict {
        if self.is_older_than_the_build(&change.path) {
            return Verdict::Included;
        }
        let path = &change.path;
        self.hold(change, own);
        match own {
            OwnWrites::None => Verdict::Supersedes,
            OwnWrites::Until(ended) if is_later(path, ended) => Verdict::Supersedes,
            OwnWrites::Until(_) => Verdict::Held,
            OwnWrites::Possible | OwnWrites::Unordered => {
                let may_cut = self.cuts.get(folder(path)).is_none_or(|cuts| *cuts < Self::CUTS);
                match may_cut && !self.is_as_before(path) && !self.unstable.contains(path) {
                    true => Verdict::SupersedesIfItLasts,
                    false => Verdict::Held,
                }
            }
        }
    }

    fn hold(&mut self, change: &Change, own: OwnWrites) {
        self.held.entry(change.path.clone()).or_insert_with(|| change.clone());
        if own == OwnWrites::Unordered {
            self.doubtful.insert(change.path.clone());
        }
    }

    /// Notes that a change has cut the build short.
    pub(super) fn cuts(&mut self, change: &Change, own: OwnWrites) {
        match own {
            OwnWrites::Possible | OwnWrites::Unordered => {
                *self.cuts.entry(folder(&change.path).to_owned()).or_default() += 1;
            }
            _ => self.edited(),
        }
    }

    /// Whether the build has left the file with other content than it had when the build began.
    pub(super) fn has_changed(&self, path: &Path) -> bool {
        self.held.contains_key(path) && !self.is_as_before(path)
    }

    /// Whether every build writes the file with other content.
    pub(super) fn is_unstable(&self, path: &Path) -> bool {
        self.unstable.contains(path)
    }

    /// Whether the file holds now what it held when the build began.
    pub(super) fn is_as_before(&self, path: &Path) -> bool {
        self.held.get(path).is_some_and(|held| held.before == Some(Content::of(path)))
    }

    /// Takes in that the build has ended by itself. Returns what follows from the changes that were held.
    pub(super) fn build_ends(&mut self, now: SystemTime) -> Settled {
        self.ended = Some(now);
        let paths: Vec<_> = self.held.keys().cloned().collect();
        let matters = |path: &PathBuf| self.doubtful.contains(path) || !self.is_as_before(path);
        let changed: Vec<_> = paths.into_iter().filter(matters).collect();
        self.settle(changed)
    }

    /// Takes in a change that is reported while no build runs. It may have been made while the last one ran.
    pub(super) fn judge_late(&mut self, change: &Change, own: OwnWrites) -> Settled {
        let path = &change.path;
        let Some(ended) = self.ended else { return self.repeat(change) };
        if self.is_older_than_the_build(path) {
            return Settled::Nothing;
        }
        let may_be_its_own = match own {
            OwnWrites::None => false,
            OwnWrites::Until(last) => !is_later(path, last),
            OwnWrites::Possible | OwnWrites::Unordered => !is_later(path, ended),
        };
        if !may_be_its_own {
            return self.repeat(change);
        }
        self.hold(change, own);
        if self.is_as_before(path) && own != OwnWrites::Unordered {
            return Settled::Nothing;
        }
        self.settle(vec![path.clone()])
    }

    fn settle(&mut self, changed: Vec<PathBuf>) -> Settled {
        let unstable = |path: &PathBuf| self.repeats.get(path).is_some_and(|times| *times >= Self::REPEATS);
        let (unstable, open): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|path| self.unstable.contains(path) || unstable(path));
        for path in &open {
            *self.repeats.entry(path.clone()).or_default() += 1;
        }
        let mut news = unstable;
        news.retain(|path| self.unstable.insert(path.clone()));
        match open.first().and_then(|path| self.held.get(path)) {
            Some(change) => Settled::Repeat(change.clone()),
            None if news.is_empty() => Settled::Nothing,
            None => Settled::Unstable(news),
        }
    }

    /// Someone has edited something: what builds write is counted from here.
    pub(super) fn edited(&mut self) {
        self.cuts.clear();
        self.repeats.clear();
    }

    fn repeat(&mut self, change: &Change) -> Settled {
        self.edited();
        Settled::Repeat(change.clone())
    }

    /// Whether a file became what it is before the build began. One of the folders above it may have been moved since,
    /// which leaves the file's own times as they are.
    fn is_older_than_the_build(&self, path: &Path) -> bool {
        // A clock that was set back proves nothing.
        let Some(began) = self.began.filter(|began| *began <= SystemTime::now()) else { return false };
        let is_older = |path: &Path| changed_at(path).is_some_and(|changed| changed + CLOCK_GRAIN < began);
        path.ancestors().all(is_older)
    }
}

/// Whether a file became what it is after that time.
fn is_later(path: &Path, time: SystemTime) -> bool {
    time > SystemTime::now() || changed_at(path).is_none_or(|changed| changed > time)
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::What;
    use std::{fs, time::Duration};

    struct Bench {
        overlap: Overlap,
        dir: tempfile::TempDir,
    }

    impl Bench {
        /// A build that begins after all files are written.
        fn new() -> Self {
            let mut bench = Self { overlap: Overlap::default(), dir: tempfile::tempdir().unwrap() };
            fs::create_dir(bench.path("pb")).unwrap();
            bench.begin();
            bench
        }

        fn begin(&mut self) {
            self.overlap.build_begins(SystemTime::now());
        }

        fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        /// Writes a file, and gives what the watcher would report of it.
        fn write(&self, name: &str, content: &str) -> Change {
            let path = self.path(name);
            let before = Some(Content::of(&path));
            fs::write(&path, content).unwrap();
            let plugin = "dev.test.overlap".parse().unwrap();
            Change { plugin, path, saved_at: SystemTime::now(), what: What::Source, before }
        }

        /// A build in which a script writes this file while it may.
        fn build_that_writes(&mut self, name: &str, content: &str) -> (Verdict, Settled) {
            self.begin();
            let change = self.write(name, content);
            let verdict = self.overlap.judge(&change, OwnWrites::Possible);
            if verdict == Verdict::SupersedesIfItLasts {
                self.overlap.cuts(&change, OwnWrites::Possible);
                return (verdict, Settled::Nothing);
            }
            (verdict, self.overlap.build_ends(SystemTime::now()))
        }
    }

    #[test]
    fn an_edit_of_a_file_no_build_writes_always_supersedes() {
        let mut bench = Bench::new();
        for round in 0..10 {
            bench.begin();
            let change = bench.write("lib.rs", &format!("{round}"));
            assert_eq!(bench.overlap.judge(&change, OwnWrites::None), Verdict::Supersedes);
            bench.overlap.cuts(&change, OwnWrites::None);
        }
    }

    #[test]
    fn an_edit_after_the_build_script_has_ended_supersedes() {
        let mut bench = Bench::new();
        let script_ended = OwnWrites::Until(SystemTime::now() - Duration::from_secs(1));
        let change = bench.write("lib.rs", "edited");
        assert_eq!(bench.overlap.judge(&change, script_ended), Verdict::Supersedes);
    }

    #[test]
    fn a_file_that_the_build_rewrites_with_its_content_matters_not() {
        let mut bench = Bench::new();
        bench.write("pb/a.rs", "same");
        bench.begin();
        let half = bench.write("pb/a.rs", "sa");
        let whole = bench.write("pb/a.rs", "same");
        assert_eq!(bench.overlap.judge(&half, OwnWrites::Possible), Verdict::Held);
        assert_eq!(bench.overlap.judge(&whole, OwnWrites::Until(SystemTime::now())), Verdict::Held);
        assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Nothing);
        assert_eq!(bench.overlap.judge_late(&whole, OwnWrites::Until(SystemTime::now())), Settled::Nothing);
    }

    #[test]
    fn a_build_that_writes_other_content_each_time_ends_after_a_few() {
        let mut bench = Bench::new();
        let mut said = Vec::new();
        for round in 0.. {
            assert!(round < 10, "it would never end");
            match bench.build_that_writes("pb/stamp.rs", &format!("{round}")) {
                (Verdict::Held, Settled::Unstable(paths)) => {
                    said = paths;
                    break;
                }
                (Verdict::SupersedesIfItLasts, _) | (_, Settled::Repeat(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(said, [bench.path("pb/stamp.rs")]);
        bench.overlap.edited();
        let again = bench.build_that_writes("pb/stamp.rs", "after an edit elsewhere");
        assert_eq!(again, (Verdict::Held, Settled::Nothing), "it is known, and was said");
    }

    #[test]
    fn a_file_saved_in_many_builds_counts_as_an_edit_after_a_quiet_build() {
        let mut bench = Bench::new();
        for round in 0..8 {
            bench.build_that_writes("pb/lib.rs", &format!("saved {round}"));
        }
        bench.begin();
        let settled = bench.overlap.build_ends(SystemTime::now());
        assert_eq!(settled, Settled::Nothing, "nothing was saved meanwhile");
        let later = bench.build_that_writes("pb/lib.rs", "saved during another build");
        assert!(matches!(later, (_, Settled::Repeat(_))), "{later:?}");
    }

    #[test]
    fn an_edit_that_was_held_is_built_when_the_build_has_ended() {
        let mut bench = Bench::new();
        let change = bench.write("pb/input.proto", "edited");
        assert_eq!(bench.overlap.judge(&change, OwnWrites::Until(SystemTime::now())), Verdict::Held);
        assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Repeat(change));
    }

    #[test]
    fn an_edit_and_its_undoing_count_where_the_compiler_may_have_read_between() {
        let mut bench = Bench::new();
        bench.write("lib.rs", "one");
        bench.begin();
        let edited = bench.write("lib.rs", "two");
        let undone = bench.write("lib.rs", "one");
        assert_eq!(bench.overlap.judge(&edited, OwnWrites::Unordered), Verdict::Held);
        assert_eq!(bench.overlap.judge(&undone, OwnWrites::Unordered), Verdict::Held);
        assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Repeat(edited));
    }

    #[test]
    fn a_late_change_is_judged_by_the_time_of_its_write() {
        let mut bench = Bench::new();
        let during = bench.write("pb/a.rs", "written by the build");
        assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Nothing);
        for _ in 0..Overlap::REPEATS {
            assert!(matches!(bench.overlap.judge_late(&during, OwnWrites::Unordered), Settled::Repeat(_)));
        }
        assert!(matches!(bench.overlap.judge_late(&during, OwnWrites::Unordered), Settled::Unstable(_)));
        bench.overlap.build_ends(SystemTime::now() - Duration::from_secs(1));
        let after = bench.write("pb/a.rs", "edited");
        for _ in 0..5 {
            assert!(matches!(bench.overlap.judge_late(&after, OwnWrites::Unordered), Settled::Repeat(_)));
        }
    }
}
