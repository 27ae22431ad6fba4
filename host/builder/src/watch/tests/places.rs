//! Locations of inputs and plugins: folders that do not exist yet, behind links, and without events for changes.

use super::*;
use std::os::unix::fs::symlink;

/// Makes a link lead there, in one step.
fn lead(link: &Path, target: &str) {
    let next = link.with_file_name("next");
    symlink(target, &next).unwrap();
    fs::rename(&next, link).unwrap();
}

/// A link beside the plugins folder, to the first of two versions of a folder.
fn current(bench: &Bench) -> PathBuf {
    for version in ["v1", "v2"] {
        fs::create_dir_all(bench.beside(version)).unwrap();
    }
    let link = bench.beside("current");
    lead(&link, "v1");
    link
}

#[test]
fn an_input_in_folders_that_do_not_exist_is_a_change_when_it_comes() {
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
fn a_source_folder_that_does_not_exist_is_watched_when_it_comes() {
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
fn a_link_among_the_inputs_that_leads_elsewhere_is_a_change() {
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
fn a_plugins_folder_behind_a_link_is_followed_when_that_leads_elsewhere() {
    // One link leads to the folder itself. Another one is further up in the path, behind a third one.
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
fn a_plugin_behind_a_chain_of_links_is_looked_at_when_one_leads_elsewhere() {
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
    // A write through another name of the same file causes an event only in the folder of that name.
    let other = bench.beside("elsewhere");
    fs::create_dir(&other).unwrap();
    fs::hard_link(bench.path("one/src/lib.rs"), other.join("lib.rs")).unwrap();
    for content in ["fn second() {}", "fn thirdd() {}"] {
        fs::write(other.join("lib.rs"), content).unwrap();
        while Content::of(&bench.path("one/src/lib.rs")) != Content::of(&other.join("lib.rs")) {}
        bench.until_change_of("one/src/lib.rs");
    }
}
