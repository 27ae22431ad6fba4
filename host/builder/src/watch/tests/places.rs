//! Tests with unusual locations: folders that do not exist yet, folders behind links, and files whose changes cause no
//! events.

use super::*;
use std::os::unix::fs::symlink;

/// Atomically makes `link` lead to `target`.
fn lead(link: &Path, target: &str) {
    let next = link.with_file_name("next");
    symlink(target, &next).unwrap();
    fs::rename(&next, link).unwrap();
}

/// Creates two folders `v1` and `v2` next to the plugins folder, and a link `current` to `v1`. Returns the link.
fn current(bench: &Bench) -> PathBuf {
    for version in ["v1", "v2"] {
        fs::create_dir_all(bench.beside(version)).unwrap();
    }
    let link = bench.beside("current");
    lead(&link, "v1");
    link
}

#[test]
fn an_input_in_a_missing_folder_is_reported_when_it_appears() {
    let mut bench = bench();
    let missing = bench.beside("vendor/deep/dep/Cargo.toml");
    bench.watch_more(|inputs| {
        inputs.files.insert(missing.clone());
    });
    fs::create_dir_all(missing.parent().unwrap()).unwrap();
    fs::write(&missing, "[package]").unwrap();
    assert_eq!(bench.next_change().path, missing);
    bench.until_marker();
    fs::remove_dir_all(bench.beside("vendor")).unwrap();
    assert_eq!(bench.next_change().path, missing);
    fs::create_dir_all(missing.parent().unwrap()).unwrap();
    fs::write(&missing, "[package]").unwrap();
    assert_eq!(bench.next_change().path, missing);
}

#[test]
fn a_missing_source_folder_is_watched_when_it_appears() {
    let mut bench = bench();
    let source = bench.beside("submodule/dep/src");
    bench.watch_more(|inputs| {
        inputs.dirs.insert(source.clone());
    });
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("lib.rs"), "x").unwrap();
    assert_eq!(bench.next_change().path, source.join("lib.rs"));
}

#[test]
fn a_link_among_the_inputs_is_reported_when_its_target_changes() {
    let mut bench = bench();
    let link = current(&bench);
    let mut inputs = bench.inputs();
    inputs.files.extend(links_on(&link.join("src/lib.rs")));
    assert!(inputs.files.contains(&link));
    bench.watcher.set_inputs(&id(), inputs).unwrap();
    lead(&link, "v2");
    assert_eq!(bench.next_change().path, link);
}

#[test]
fn a_changed_link_to_the_plugins_folder_is_reported_and_followed() {
    // `link` leads to the plugins folder itself. In the path `current/plugins`, `current` leads to `newest`, which
    // leads to a folder above the plugins folder.
    for name in ["link", "current/plugins"] {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir_all(root.join(version).join("plugins/one")).unwrap();
        }
        let lead_to = |version: &str| {
            lead(&root.join("link"), &format!("{version}/plugins"));
            lead(&root.join("newest"), version);
        };
        lead_to("v1");
        symlink("newest", root.join("current")).unwrap();
        let (sender, notices) = unbounded_channel();
        let watcher = Watcher::new(&root.join(name), Poll::Never, sender).unwrap();
        let mut bench = Bench { watcher, notices, root: root.join("v2/plugins"), _dir: dir };
        lead_to("v2");
        bench.until_plugins_changed();
        bench.write("one/plugin.toml", "id = 'dev.example.one'");
        bench.until_plugins_changed();
    }
}

#[test]
fn a_changed_link_in_the_path_of_a_plugin_is_reported() {
    let mut bench = bench();
    let link = current(&bench);
    symlink("../current", bench.path("app")).unwrap();
    bench.until_plugins_changed();
    lead(&link, "v2");
    bench.until_plugins_changed();
}

#[test]
fn polling_detects_changes_without_events() {
    let mut bench = bench_that_polls(Poll::Every(Duration::from_millis(50)));
    // A write through another hard link of the file causes an event only in the folder of that link.
    let other = bench.beside("elsewhere");
    fs::create_dir(&other).unwrap();
    fs::hard_link(bench.path("one/src/lib.rs"), other.join("lib.rs")).unwrap();
    for content in ["fn second() {}", "fn thirdd() {}"] {
        fs::write(other.join("lib.rs"), content).unwrap();
        while Content::of(&bench.path("one/src/lib.rs")) != Content::of(&other.join("lib.rs")) {}
        bench.until_change_of("one/src/lib.rs");
    }
}
