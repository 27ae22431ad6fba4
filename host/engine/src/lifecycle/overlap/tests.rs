//! Tests of the rules by which a change during a build counts as an edit.

use super::*;
use crate::watch::What;
use std::time::Duration;

/// Simulated files, and a clock that advances with each use.
struct Bench {
    overlap: Overlap,
    clock: SystemTime,
    begin: Instant,
    contents: Contents,
    times: BTreeMap<PathBuf, SystemTime>,
}

impl Bench {
    /// No files, and a build that has just begun.
    fn new() -> Self {
        let mut bench = Self {
            overlap: Overlap::default(),
            clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1000),
            begin: Instant::now(),
            contents: Contents::new(),
            times: BTreeMap::new(),
        };
        bench.begin();
        bench
    }

    fn now(&mut self) -> SystemTime {
        self.clock += Duration::from_millis(1);
        self.clock
    }

    fn begin(&mut self) {
        let now = self.now();
        self.overlap.build_begins(now);
    }

    fn path(name: &str) -> PathBuf {
        Path::new("/plugin").join(name)
    }

    /// Writes a file, and returns the change that the watcher would report. The content of the file is a hash of the text.
    fn write(&mut self, name: &str, text: &str) -> Change {
        let path = Self::path(name);
        let hash = text.bytes().fold(1, |hash: u64, byte| hash.wrapping_mul(257) + u64::from(byte));
        let before = self.contents.insert(path.clone(), Content::Hash(hash)).unwrap_or(Content::Gone);
        let saved_at = self.now();
        self.times.insert(path.clone(), saved_at);
        let plugin = "dev.test.overlap".parse().unwrap();
        Change { plugin, path, saved_at, what: What::Source, before: Some(before) }
    }

    fn see(&mut self, change: &Change, own: OwnWrites) -> Observation {
        let (content, changed) = (self.contents.get(&change.path), self.times.get(&change.path));
        Observation {
            own,
            content: content.copied(),
            changed: changed.copied(),
            changed_or_moved: changed.copied(),
            at: self.now(),
            change: change.clone(),
        }
    }

    fn judge(&mut self, change: &Change, own: OwnWrites) -> Judgment {
        let seen = self.see(change, own);
        self.overlap.judge(&seen)
    }

    fn judge_late(&mut self, change: &Change, own: OwnWrites) -> Settled {
        let seen = self.see(change, own);
        self.overlap.judge_late(self.begin, &seen)
    }

    fn end(&mut self) -> Settled {
        let at = self.now();
        self.overlap.build_ends(self.begin, at, &self.contents)
    }

    /// Runs a build. Writes this file while the build script may be running.
    fn build_that_writes(&mut self, name: &str, text: &str) -> (Judgment, Settled) {
        self.begin();
        let change = self.write(name, text);
        let judgment = self.judge(&change, OwnWrites::Possible);
        if judgment == Judgment::SupersedesIfItLasts {
            let again = self.see(&change, OwnWrites::Possible);
            assert_eq!(self.overlap.judge_again(&again), Judgment::Supersedes);
            return (judgment, Settled::Nothing);
        }
        (judgment, self.end())
    }

    /// Runs builds during each of which this file is written, until the file is suspected.
    fn build_until_suspected(&mut self, name: &str) {
        let is_suspected = |round: u32| {
            let (_, settled) = self.build_that_writes(name, &format!("saved {round}"));
            settled == Settled::Suspected
        };
        assert!((0..10).any(is_suspected), "each build causes another one");
    }
}

#[test]
fn edits_that_no_script_can_make_supersede_at_most_four_builds_in_a_row() {
    let mut bench = Bench::new();
    let mut edit = |round: u32| {
        bench.begin();
        let change = bench.write("lib.rs", &format!("{round}"));
        let judgment = bench.judge(&change, OwnWrites::None);
        if judgment != Judgment::Supersedes {
            assert_eq!(bench.end(), Settled::Repeat(change));
        }
        judgment
    };
    for round in 0..Overlap::EDITS {
        assert_eq!(edit(round), Judgment::Supersedes);
    }
    assert_eq!(edit(100), Judgment::Held);
    bench.begin();
    assert_eq!(bench.end(), Settled::Nothing);
    bench.begin();
    let change = bench.write("lib.rs", "after a build without an edit");
    assert_eq!(bench.judge(&change, OwnWrites::None), Judgment::Supersedes);
}

#[test]
fn new_files_that_a_build_writes_into_a_folder_count_as_one_file() {
    let mut bench = Bench::new();
    for round in 0..10 {
        let (_, settled) = bench.build_that_writes(&format!("pb/{round}.rs"), "a new file");
        if settled == Settled::Suspected {
            return;
        }
    }
    panic!("each build causes another one");
}

#[test]
fn an_edit_after_the_build_script_has_ended_supersedes_the_build() {
    let mut bench = Bench::new();
    let script_ended = OwnWrites::Until(bench.now() - Duration::from_secs(1));
    let change = bench.write("lib.rs", "edited");
    assert_eq!(bench.judge(&change, script_ended), Judgment::Supersedes);
}

#[test]
fn a_file_rewritten_with_the_same_content_causes_no_build() {
    let mut bench = Bench::new();
    bench.write("pb/a.rs", "same");
    bench.begin();
    let half = bench.write("pb/a.rs", "sa");
    let whole = bench.write("pb/a.rs", "same");
    assert_eq!(bench.judge(&half, OwnWrites::Possible), Judgment::Held);
    let script_ended = OwnWrites::Until(bench.now());
    assert_eq!(bench.judge(&whole, script_ended), Judgment::Held);
    assert_eq!(bench.end(), Settled::Nothing);
    assert_eq!(bench.judge_late(&whole, script_ended), Settled::Nothing);
}

#[test]
fn a_file_that_differs_after_every_build_is_reported_as_unstable() {
    let mut bench = Bench::new();
    let mut reported = Vec::new();
    for round in 0.. {
        assert!(round < 10, "each build causes another one");
        match bench.build_that_writes("pb/stamp.rs", &format!("{round}")) {
            (Judgment::Held, Settled::Unstable(paths)) => {
                reported = paths;
                break;
            }
            (Judgment::Held, Settled::Suspected) => {
                let change = bench.overlap.check().unwrap();
                assert_eq!(bench.judge_late(&change, OwnWrites::Unordered), Settled::Repeat(change));
            }
            (Judgment::SupersedesIfItLasts, _) | (_, Settled::Repeat(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reported, [Bench::path("pb/stamp.rs")]);
    bench.overlap.edited();
    let again = bench.build_that_writes("pb/stamp.rs", "after an edit elsewhere");
    assert_eq!(
        again,
        (Judgment::Held, Settled::Nothing),
        "the file is known to be unstable, and was reported"
    );
}

#[test]
fn a_file_that_one_build_does_not_change_is_no_longer_unstable() {
    let mut bench = Bench::new();
    for round in 0..8 {
        bench.build_that_writes("pb/lib.rs", &format!("saved {round}"));
    }
    bench.begin();
    let settled = bench.end();
    assert_eq!(settled, Settled::Nothing, "no file was saved during the build");
    let later = bench.build_that_writes("pb/lib.rs", "saved during another build");
    assert_eq!(later.0, Judgment::SupersedesIfItLasts, "{later:?}");
}

#[test]
fn the_last_save_is_built_when_a_user_has_saved_during_many_builds() {
    let mut bench = Bench::new();
    bench.build_until_suspected("pb/lib.rs");
    assert!(bench.overlap.check_due().is_some());
    let last = bench.overlap.check().unwrap();
    assert_eq!(bench.judge_late(&last, OwnWrites::Unordered), Settled::Repeat(last));
    bench.begin();
    assert_eq!(bench.end(), Settled::Nothing, "the build left the file alone");
    bench.begin();
    assert!(!bench.overlap.is_unstable(&Bench::path("pb/lib.rs")));
}

#[test]
fn a_save_while_no_build_runs_ends_the_suspicion_of_a_file() {
    let mut bench = Bench::new();
    bench.build_until_suspected("pb/lib.rs");
    let saved = bench.write("pb/lib.rs", "saved");
    assert_eq!(bench.judge_late(&saved, OwnWrites::Unordered), Settled::Repeat(saved));
    assert!(bench.overlap.check_due().is_none() && !bench.overlap.is_unstable(&Bench::path("pb/lib.rs")));
}

#[test]
fn a_held_edit_causes_another_build_when_the_build_has_ended() {
    let mut bench = Bench::new();
    let change = bench.write("pb/input.proto", "edited");
    let script_ended = OwnWrites::Until(bench.now());
    assert_eq!(bench.judge(&change, script_ended), Judgment::Held);
    assert_eq!(bench.end(), Settled::Repeat(change));
}

#[test]
fn an_undone_edit_counts_if_the_compiler_may_have_read_it() {
    let mut bench = Bench::new();
    bench.write("lib.rs", "one");
    bench.begin();
    let edited = bench.write("lib.rs", "two");
    let undone = bench.write("lib.rs", "one");
    assert_eq!(bench.judge(&edited, OwnWrites::Unordered), Judgment::Held);
    assert_eq!(bench.judge(&undone, OwnWrites::Unordered), Judgment::Held);
    assert_eq!(bench.end(), Settled::Repeat(edited));
}

#[test]
fn a_late_change_is_judged_by_the_time_of_its_write() {
    let mut bench = Bench::new();
    let during = bench.write("pb/a.rs", "written by the build");
    assert_eq!(bench.end(), Settled::Nothing);
    for _ in 0..Overlap::REPEATS {
        assert!(matches!(bench.judge_late(&during, OwnWrites::Unordered), Settled::Repeat(_)));
    }
    assert_eq!(bench.judge_late(&during, OwnWrites::Unordered), Settled::Suspected);
    let after = bench.write("pb/a.rs", "edited");
    for _ in 0..5 {
        assert!(matches!(bench.judge_late(&after, OwnWrites::Unordered), Settled::Repeat(_)));
    }
}

#[test]
fn a_change_after_the_build_is_an_edit_if_its_time_is_unknown() {
    let mut bench = Bench::new();
    bench.end();
    let change = bench.write("lib.rs", "edited");
    bench.times.remove(&change.path);
    for _ in 0..5 {
        assert_eq!(bench.judge_late(&change, OwnWrites::Unordered), Settled::Repeat(change.clone()));
    }
}

#[test]
fn a_change_is_an_edit_if_the_clock_was_set_back_since_the_build() {
    let mut bench = Bench::new();
    bench.end();
    bench.clock -= Duration::from_secs(100);
    let change = bench.write("lib.rs", "edited");
    for _ in 0..5 {
        assert_eq!(bench.judge_late(&change, OwnWrites::Unordered), Settled::Repeat(change.clone()));
    }
}

#[test]
fn an_old_file_counts_as_changed_if_its_folder_was_moved_during_the_build() {
    let mut bench = Bench::new();
    let change = bench.write("src/lib.rs", "old");
    bench.clock += Duration::from_secs(100);
    bench.begin();
    let seen = bench.see(&change, OwnWrites::None);
    assert_eq!(bench.overlap.judge(&seen), Judgment::Included);
    let moved = Observation { changed_or_moved: Some(bench.now()), ..bench.see(&change, OwnWrites::None) };
    assert_eq!(bench.overlap.judge(&moved), Judgment::Supersedes);
}
