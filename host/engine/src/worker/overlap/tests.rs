//! Tests of the rules by which a change during a build counts as an edit.

use super::*;
use crate::watch::What;
use std::{fs, time::Duration};

struct Bench {
    overlap: Overlap,
    dir: tempfile::TempDir,
}

impl Bench {
    /// An empty folder `pb`, and a build that has just begun.
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

    /// Writes a file, and returns the change that the watcher would report.
    fn write(&self, name: &str, content: &str) -> Change {
        let path = self.path(name);
        let before = Some(Content::of(&path));
        fs::write(&path, content).unwrap();
        let plugin = "dev.test.overlap".parse().unwrap();
        Change { plugin, path, saved_at: SystemTime::now(), what: What::Source, before }
    }

    /// Runs a build. Writes this file while the build script may be running.
    fn build_that_writes(&mut self, name: &str, content: &str) -> (Verdict, Settled) {
        self.begin();
        let change = self.write(name, content);
        let verdict = self.overlap.judge(&change, OwnWrites::Possible);
        if verdict == Verdict::SupersedesIfItLasts {
            self.overlap.cuts(&change);
            return (verdict, Settled::Nothing);
        }
        (verdict, self.overlap.build_ends(SystemTime::now()))
    }
}

#[test]
fn an_edit_that_no_script_can_make_supersedes_four_builds_in_a_row() {
    let mut bench = Bench::new();
    let mut edit = |round: u32| {
        bench.begin();
        let change = bench.write("lib.rs", &format!("{round}"));
        let verdict = bench.overlap.judge(&change, OwnWrites::None);
        match verdict {
            Verdict::Supersedes => bench.overlap.cuts(&change),
            _ => assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Repeat(change)),
        }
        verdict
    };
    for round in 0..Overlap::EDITS {
        assert_eq!(edit(round), Verdict::Supersedes);
    }
    assert_eq!(edit(100), Verdict::Held);
    bench.begin();
    assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Nothing);
    bench.begin();
    let change = bench.write("lib.rs", "after a build without an edit");
    assert_eq!(bench.overlap.judge(&change, OwnWrites::None), Verdict::Supersedes);
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
    panic!("the builds do not end");
}

#[test]
fn an_edit_after_the_build_script_has_ended_supersedes() {
    let mut bench = Bench::new();
    let script_ended = OwnWrites::Until(SystemTime::now() - Duration::from_secs(1));
    let change = bench.write("lib.rs", "edited");
    assert_eq!(bench.overlap.judge(&change, script_ended), Verdict::Supersedes);
}

#[test]
fn a_file_rewritten_with_the_same_content_causes_no_build() {
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
fn a_file_that_differs_after_every_build_is_reported_as_unstable() {
    let mut bench = Bench::new();
    let mut reported = Vec::new();
    for round in 0.. {
        assert!(round < 10, "the builds do not end");
        match bench.build_that_writes("pb/stamp.rs", &format!("{round}")) {
            (Verdict::Held, Settled::Unstable(paths)) => {
                reported = paths;
                break;
            }
            (Verdict::Held, Settled::Suspected) => {
                let change = bench.overlap.check().unwrap();
                assert_eq!(bench.overlap.judge_late(&change, OwnWrites::Unordered), Settled::Repeat(change));
            }
            (Verdict::SupersedesIfItLasts, _) | (_, Settled::Repeat(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(reported, [bench.path("pb/stamp.rs")]);
    bench.overlap.edited();
    let again = bench.build_that_writes("pb/stamp.rs", "after an edit elsewhere");
    assert_eq!(
        again,
        (Verdict::Held, Settled::Nothing),
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
    let settled = bench.overlap.build_ends(SystemTime::now());
    assert_eq!(settled, Settled::Nothing, "no file was saved during the build");
    let later = bench.build_that_writes("pb/lib.rs", "saved during another build");
    assert_eq!(later.0, Verdict::SupersedesIfItLasts, "{later:?}");
}

#[test]
fn the_last_save_is_built_when_a_user_has_saved_during_many_builds() {
    let mut bench = Bench::new();
    let mut round = 0;
    while bench.build_that_writes("pb/lib.rs", &format!("saved {round}")).1 != Settled::Suspected {
        round += 1;
        assert!(round < 10, "the builds do not end");
    }
    assert!(bench.overlap.check_due().is_some());
    let last = bench.overlap.check().unwrap();
    assert_eq!(bench.overlap.judge_late(&last, OwnWrites::Unordered), Settled::Repeat(last));
    bench.begin();
    assert_eq!(
        bench.overlap.build_ends(SystemTime::now()),
        Settled::Nothing,
        "the build left the file alone"
    );
    bench.begin();
    assert!(!bench.overlap.is_unstable(&bench.path("pb/lib.rs")));
}

#[test]
fn a_save_between_builds_makes_a_suspected_file_an_edited_one() {
    let mut bench = Bench::new();
    while bench.build_that_writes("pb/lib.rs", &format!("{:?}", SystemTime::now())).1 != Settled::Suspected {}
    bench.overlap.build_ends(SystemTime::now() - Duration::from_secs(1));
    let saved = bench.write("pb/lib.rs", "saved");
    assert_eq!(bench.overlap.judge_late(&saved, OwnWrites::Unordered), Settled::Repeat(saved));
    assert!(bench.overlap.check_due().is_none() && !bench.overlap.is_unstable(&bench.path("pb/lib.rs")));
}

#[test]
fn a_held_edit_causes_another_build_when_the_build_has_ended() {
    let mut bench = Bench::new();
    let change = bench.write("pb/input.proto", "edited");
    assert_eq!(bench.overlap.judge(&change, OwnWrites::Until(SystemTime::now())), Verdict::Held);
    assert_eq!(bench.overlap.build_ends(SystemTime::now()), Settled::Repeat(change));
}

#[test]
fn an_undone_edit_counts_if_the_compiler_may_have_read_it() {
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
    assert_eq!(bench.overlap.judge_late(&during, OwnWrites::Unordered), Settled::Suspected);
    bench.overlap.build_ends(SystemTime::now() - Duration::from_secs(1));
    let after = bench.write("pb/a.rs", "edited");
    for _ in 0..5 {
        assert!(matches!(bench.overlap.judge_late(&after, OwnWrites::Unordered), Settled::Repeat(_)));
    }
}
