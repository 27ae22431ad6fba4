//! Tests of the watcher: it reports a save by every usual method, and nothing else. The tests wait for notices. The
//! timeout only ensures that a test fails, instead of hanging, if the watcher is broken.

mod places;
mod plugins;

use super::*;
use std::{
    fs,
    time::{Duration, Instant},
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

struct Bench {
    watcher: Watcher,
    notices: UnboundedReceiver<Notice>,
    root: PathBuf,
    _dir: tempfile::TempDir,
}

const ID: &str = "dev.example.one";

fn id() -> PluginId {
    ID.parse().unwrap()
}

/// A plugins folder with one plugin, whose folder `one` is watched completely.
fn bench() -> Bench {
    bench_that_polls(Poll::Never)
}

fn bench_that_polls(poll: Poll) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let root = fs::canonicalize(dir.path()).unwrap().join("plugins");
    fs::create_dir_all(root.join("one/src")).unwrap();
    fs::write(root.join("one/plugin.toml"), "id = 'dev.example.one'").unwrap();
    fs::write(root.join("one/src/lib.rs"), "fn first() {}").unwrap();
    let (sender, notices) = unbounded_channel();
    let watcher = Watcher::new(&root, poll, sender).unwrap();
    let bench = Bench { watcher, notices, root, _dir: dir };
    bench.watcher.set_inputs(&id(), bench.inputs()).unwrap();
    bench
}

impl Bench {
    fn inputs(&self) -> Inputs {
        Inputs {
            files: [self.path("one/plugin.toml"), self.path("one/Cargo.toml")].into(),
            dirs: [self.path("one/src")].into(),
            ..Inputs::default()
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A path next to the plugins folder.
    fn beside(&self, name: &str) -> PathBuf {
        self.root.with_file_name(name)
    }

    /// Watches the initial inputs with the additions that `add` makes.
    fn watch_more(&self, add: impl FnOnce(&mut Inputs)) {
        let mut inputs = self.inputs();
        add(&mut inputs);
        self.watcher.set_inputs(&id(), inputs).unwrap();
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
    }

    fn next(&mut self) -> Notice {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(30), self.notices.recv()).await })
            .expect("a notice arrives in time")
            .expect("the watcher runs")
    }

    fn next_change(&mut self) -> Change {
        match self.next() {
            Notice::Changed(change) => change,
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the watcher reports a change of this file, and ignores other reports.
    fn until_change_of(&mut self, name: &str) {
        let path = self.path(name);
        while !matches!(self.next(), Notice::Changed(change) if change.path == path) {}
    }

    fn until_plugins_changed(&mut self) {
        while self.next() != Notice::PluginsChanged {}
    }

    /// Writes a marker file, and returns the reports that arrive before the report of this file.
    fn until_marker(&mut self) -> Vec<Notice> {
        self.write("one/src/marker.tmp", &format!("{:?}", SystemTime::now()));
        fs::rename(self.path("one/src/marker.tmp"), self.path("one/src/marker.rs")).unwrap();
        let mut seen = Vec::new();
        loop {
            match self.next() {
                Notice::Changed(change) if change.path.ends_with("marker.rs") => {
                    // Discards the rest of the batch that contained the marker.
                    while self.notices.try_recv().is_ok() {}
                    return seen;
                }
                other => seen.push(other),
            }
        }
    }

    /// Replaces a file atomically.
    fn replace(&self, name: &str, content: &str) {
        let temporary = self.path(&format!("{name}.tmp"));
        fs::write(&temporary, content).unwrap();
        fs::rename(&temporary, self.path(name)).unwrap();
    }

    /// Asserts that the watcher has reported only `lib.rs`, and that it knows the current content of `lib.rs`, which is
    /// `content`: if a new file with the same content replaces `lib.rs`, the watcher does not report `lib.rs`.
    fn expect_converged(&mut self, content: &str) {
        let seen = self.until_marker();
        assert!(!seen.is_empty());
        for notice in &seen {
            let Notice::Changed(change) = notice else { panic!("{notice:?}") };
            assert_eq!((change.path.clone(), &change.plugin), (self.path("one/src/lib.rs"), &id()));
            assert_eq!(change.what, What::Source);
        }
        assert_eq!(fs::read_to_string(self.path("one/src/lib.rs")).unwrap(), content);
        self.write("one/src/lib.rs.new", content);
        fs::rename(self.path("one/src/lib.rs.new"), self.path("one/src/lib.rs")).unwrap();
        let lib = self.path("one/src/lib.rs");
        let again =
            self.until_marker().into_iter().any(|it| matches!(it, Notice::Changed(c) if c.path == lib));
        assert!(!again, "the last report preceded the newest content");
    }

    /// Asserts that no report is left, and that `lib.rs` has `content`.
    fn expect_nothing_more(&mut self, content: &str) {
        assert_eq!(self.until_marker(), []);
        assert_eq!(fs::read_to_string(self.path("one/src/lib.rs")).unwrap(), content);
    }
}

#[test]
fn an_in_place_write_is_reported_with_the_time_of_the_save() {
    let mut bench = bench();
    let before = SystemTime::now() - Duration::from_secs(1);
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).open(bench.path("one/src/lib.rs")).unwrap();
    file.write_all(b"fn other").unwrap();
    drop(file);
    let change = bench.next_change();
    assert_eq!(change.path, bench.path("one/src/lib.rs"));
    assert!(before < change.saved_at && change.saved_at <= SystemTime::now());
    bench.expect_nothing_more("fn other() {}");
}

#[test]
fn a_truncating_write_is_reported_with_the_newest_content() {
    let mut bench = bench();
    bench.write("one/src/lib.rs", "");
    bench.write("one/src/lib.rs", "fn second() {}");
    bench.expect_converged("fn second() {}");
}

#[test]
fn a_rename_over_the_source_is_reported_as_one_change() {
    let mut bench = bench();
    bench.write("one/src/.lib.rs.swp", "fn second() {}");
    fs::rename(bench.path("one/src/.lib.rs.swp"), bench.path("one/src/lib.rs")).unwrap();
    assert_eq!(bench.next_change().path, bench.path("one/src/lib.rs"));
    bench.expect_nothing_more("fn second() {}");
}

#[test]
fn a_deletion_and_new_creation_is_reported_with_the_newest_content() {
    let mut bench = bench();
    fs::remove_file(bench.path("one/src/lib.rs")).unwrap();
    bench.write("one/src/lib.rs", "fn second() {}");
    bench.expect_converged("fn second() {}");
}

#[test]
fn a_save_with_a_backup_by_renaming_reports_only_the_source() {
    let mut bench = bench();
    bench.write("one/src/4913", "");
    fs::remove_file(bench.path("one/src/4913")).unwrap();
    fs::rename(bench.path("one/src/lib.rs"), bench.path("one/src/lib.rs~")).unwrap();
    bench.write("one/src/lib.rs", "fn second() {}");
    fs::remove_file(bench.path("one/src/lib.rs~")).unwrap();
    bench.expect_converged("fn second() {}");
}

#[test]
fn backup_files_swap_files_and_build_outputs_are_not_reported() {
    let mut bench = bench();
    fs::create_dir_all(bench.path("one/src/target/debug")).unwrap();
    for name in
        ["lib.rs~", ".lib.rs.swx", "#lib.rs#", ".#lib.rs", "lib.rs.bak", "a.tmp", "a.orig", "target/debug/x"]
    {
        bench.write(&format!("one/src/{name}"), name);
    }
    assert_eq!(bench.until_marker(), []);
}

#[test]
fn a_file_rewritten_with_the_same_content_is_not_reported() {
    let mut bench = bench();
    let lib = bench.path("one/src/lib.rs");
    fs::File::options().append(true).open(&lib).unwrap().set_modified(SystemTime::now()).unwrap();
    bench.write("one/src/copy.bak", "fn first() {}");
    fs::rename(bench.path("one/src/copy.bak"), &lib).unwrap();
    assert_eq!(bench.until_marker(), []);
}

#[test]
fn new_files_and_files_in_new_folders_are_reported() {
    let mut bench = bench();
    bench.write("one/src/new.rs", "x");
    bench.until_change_of("one/src/new.rs");
    fs::create_dir_all(bench.path("one/src/deep/er")).unwrap();
    bench.write("one/src/deep/er/mod.rs", "x");
    bench.until_change_of("one/src/deep/er/mod.rs");
    bench.until_marker();
    bench.write("one/src/deep/er/mod.rs", "y");
    bench.until_change_of("one/src/deep/er/mod.rs");
}

#[test]
fn an_input_that_did_not_exist_is_reported_when_it_appears() {
    let mut bench = bench();
    bench.write("one/Cargo.toml", "x");
    assert_eq!(bench.next_change().path, bench.path("one/Cargo.toml"));
}

#[test]
fn a_source_of_two_plugins_is_reported_for_both() {
    let mut bench = bench();
    let other: PluginId = "dev.example.two".parse().unwrap();
    bench.watcher.set_inputs(&other, bench.inputs()).unwrap();
    let temporary = bench.root.join("one/src/x.tmp");
    fs::write(&temporary, "fn second() {}").unwrap();
    fs::rename(&temporary, bench.path("one/src/lib.rs")).unwrap();
    assert_eq!([bench.next_change().plugin, bench.next_change().plugin], [id(), other]);
}

#[test]
fn the_source_of_a_path_dependency_outside_the_plugins_folder_is_watched() {
    let mut bench = bench();
    let outside = bench.beside("shared/src");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("lib.rs"), "a").unwrap();
    bench.watch_more(|inputs| {
        inputs.dirs.insert(outside.clone());
    });
    fs::write(outside.join("x.tmp"), "b").unwrap();
    fs::rename(outside.join("x.tmp"), outside.join("lib.rs")).unwrap();
    assert_eq!(bench.next_change().path, outside.join("lib.rs"));
}

#[test]
fn a_new_input_that_is_newer_than_the_build_is_reported_immediately() {
    let mut bench = bench();
    bench.write("one/included.txt", "new");
    bench.watch_more(|inputs| {
        inputs.files.insert(bench.path("one/included.txt"));
        inputs.as_of = Some(SystemTime::now() - Duration::from_secs(5));
    });
    assert_eq!(bench.next_change().path, bench.path("one/included.txt"));
    bench.until_marker();

    bench.write("one/other.txt", "old");
    bench.watch_more(|inputs| {
        inputs.files.insert(bench.path("one/other.txt"));
        inputs.as_of = Some(SystemTime::now() + Duration::from_secs(5));
    });
    assert_eq!(bench.until_marker(), []);
}

#[test]
fn an_input_moved_in_with_an_old_mtime_during_a_build_is_reported() {
    let mut bench = bench();
    let began = SystemTime::now() - Duration::from_secs(5);
    bench.write("one/included.txt", "old time, new here");
    let file = fs::File::options().append(true).open(bench.path("one/included.txt")).unwrap();
    file.set_modified(began - Duration::from_secs(3600)).unwrap();
    bench.watch_more(|inputs| {
        inputs.files.insert(bench.path("one/included.txt"));
        inputs.as_of = Some(began);
    });
    assert_eq!(bench.next_change().path, bench.path("one/included.txt"));
}

#[test]
fn a_source_that_is_briefly_missing_or_empty_is_not_reported() {
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        let mut bench = bench();
        let began = Instant::now();
        for moment in ["", "gone"] {
            match moment {
                "" => bench.write("one/src/lib.rs", ""),
                _ => fs::remove_file(bench.path("one/src/lib.rs")).unwrap(),
            }
            bench.write("one/src/lib.rs", "fn first() {}");
        }
        // On a busy machine, the file may have been missing or empty for so long that the watcher has to report it.
        let is_brief = began.elapsed() < GRACE;
        let seen = bench.until_marker();
        if is_brief {
            assert_eq!(seen, []);
            return;
        }
    }
    panic!("the file was never written again within {GRACE:?}");
}

#[test]
fn a_source_that_stays_missing_or_empty_is_reported() {
    let mut bench = bench();
    bench.write("one/src/lib.rs", "");
    let change = bench.next_change();
    assert_eq!(change.path, bench.path("one/src/lib.rs"));
    assert_eq!(Content::of(&change.path), Content::Empty);
    fs::remove_file(bench.path("one/src/lib.rs")).unwrap();
    assert_eq!(bench.next_change().path, change.path);
    assert_eq!(Content::of(&change.path), Content::Gone);
}

#[test]
fn a_change_carries_the_previous_content_of_the_file() {
    let mut bench = bench();
    let before = Content::of(&bench.path("one/src/lib.rs"));
    bench.replace("one/src/lib.rs", "fn second() {}");
    assert_eq!(bench.next_change().before, Some(before));
    bench.replace("one/src/new.rs", "fn third() {}");
    assert_eq!(bench.next_change().before, None);
}

#[test]
fn a_file_in_an_excluded_folder_is_not_reported() {
    let mut bench = bench();
    bench.watch_more(|inputs| {
        inputs.except.insert(bench.path("one/src/out"));
    });
    fs::create_dir(bench.path("one/src/out")).unwrap();
    bench.write("one/src/out/made.so", "x");
    assert_eq!(bench.until_marker(), []);
}

#[test]
fn the_error_for_a_reached_inotify_limit_names_the_setting() {
    let full = WatchError::new(Path::new("/p"), notify::Error::new(notify::ErrorKind::MaxFilesWatch));
    assert!(
        full.to_string().contains("fs.inotify.max_user_watches is reached; raise it: sudo sysctl"),
        "{full}"
    );
    let files = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
    let full = WatchError::new(Path::new("/p"), notify::Error::io(files));
    assert!(full.to_string().contains("fs.inotify.max_user_instances"), "{full}");
}
