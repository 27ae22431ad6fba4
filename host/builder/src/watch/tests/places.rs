//! Where inputs and plugins lie: in folders that are yet to come, behind links, and where no event tells of changes.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn an_input_in_folders_that_do_not_exist_is_a_change_when_it_comes() {
    let mut bench = bench();
    let missing = bench.root.parent().unwrap().join("vendor/deep/dep/Cargo.toml");
    let mut inputs = bench.inputs();
    inputs.files.insert(missing.clone());
    bench.watcher.set_inputs(&id(), inputs).unwrap();
    fs::create_dir_all(missing.parent().unwrap()).unwrap();
    fs::write(&missing, "[package]").unwrap();
    assert_eq!(bench.next_change().path, missing);
    bench.until_marker();
    fs::remove_dir_all(bench.root.parent().unwrap().join("vendor")).unwrap();
    assert_eq!(bench.next_change().path, missing);
    fs::create_dir_all(missing.parent().unwrap()).unwrap();
    fs::write(&missing, "[package]").unwrap();
    assert_eq!(bench.next_change().path, missing);
}

#[test]
fn a_source_folder_that_does_not_exist_is_watched_when_it_comes() {
    let mut bench = bench();
    let source = bench.root.parent().unwrap().join("submodule/dep/src");
    let mut inputs = bench.inputs();
    inputs.dirs.insert(source.clone());
    bench.watcher.set_inputs(&id(), inputs).unwrap();
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("lib.rs"), "x").unwrap();
    assert_eq!(bench.next_change().path, source.join("lib.rs"));
}

#[test]
fn a_link_among_the_inputs_that_leads_elsewhere_is_a_change() {
    let mut bench = bench();
    let outside = bench.root.parent().unwrap().to_owned();
    let at = |name: &str| outside.join(name);
    for version in ["v1", "v2"] {
        fs::create_dir_all(at(version)).unwrap();
    }
    symlink("v1", at("current")).unwrap();
    let (link, next) = (at("current"), at("next"));
    let mut inputs = bench.inputs();
    inputs.files.extend(links_on(&link.join("src/lib.rs")));
    assert!(inputs.files.contains(&link));
    bench.watcher.set_inputs(&id(), inputs).unwrap();
    symlink("v2", &next).unwrap();
    fs::rename(&next, &link).unwrap();
    assert_eq!(bench.next_change().path, link);
}

#[test]
fn a_plugins_folder_behind_a_link_is_followed_when_the_link_leads_elsewhere() {
    // A link to the folder itself, and one further up, behind yet another.
    for name in ["link", "current/plugins"] {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        for version in ["v1", "v2"] {
            fs::create_dir_all(root.join(version).join("plugins/one")).unwrap();
        }
        let lead_to = |version: &str| {
            for (link, target) in [("link", format!("{version}/plugins")), ("newest", version.to_owned())] {
                symlink(target, root.join("next")).unwrap();
                fs::rename(root.join("next"), root.join(link)).unwrap();
            }
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
fn a_plugin_behind_a_chain_of_links_changes_the_plugins_when_one_leads_elsewhere() {
    let mut bench = bench();
    let outside = bench.root.parent().unwrap().to_owned();
    let at = |name: &str| outside.join(name);
    for version in ["v1", "v2"] {
        fs::create_dir_all(at(version)).unwrap();
    }
    symlink("v1", at("current")).unwrap();
    symlink("../current", bench.path("app")).unwrap();
    bench.until_plugins_changed();
    let (link, next) = (at("current"), at("next"));
    symlink("v2", &next).unwrap();
    fs::rename(&next, &link).unwrap();
    bench.until_plugins_changed();
}

#[test]
fn polling_finds_what_no_event_tells_of() {
    let mut bench = bench_that_polls(Poll::Every(Duration::from_millis(50)));
    // A write through another name of the same file is an event in the other name's folder alone.
    let other = bench.root.parent().unwrap().join("elsewhere");
    fs::create_dir(&other).unwrap();
    fs::hard_link(bench.path("one/src/lib.rs"), other.join("lib.rs")).unwrap();
    for content in ["fn second() {}", "fn thirdd() {}"] {
        fs::write(other.join("lib.rs"), content).unwrap();
        while Content::of(&bench.path("one/src/lib.rs")) != Content::of(&other.join("lib.rs")) {}
        bench.until_change_of("one/src/lib.rs");
    }
}
